"""Long lists, and the first stage's part that stands beside the scores in them."""

from dataclasses import replace

import numpy as np
import pytest
from training_kit import builder_of, mined_corpus

from rankgate_eval.train.lists import FirstStagePrior
from rankgate_eval.train.looks import judged_list, list_features
from rankgate_eval.train.trainer import list_scores, mean_list_loss

torch = pytest.importorskip("torch")


def test_a_long_list_holds_every_negative_once_and_no_answer():
    corpus, mined = mined_corpus()
    builder = builder_of(corpus, mined, negatives=15)
    for place, (name, one) in enumerate(mined.items()):
        made = builder.build(corpus.name, name, epoch=0, place=place)
        assert made.passage_ids[0] in one.query.positives
        assert set(one.negatives) <= set(made.passage_ids[1:]), "all that was mined"
        assert len(set(made.passage_ids)) == len(made.passage_ids) == 19
        assert not set(made.passage_ids[1:]) & {*one.query.positives, *one.excluded}
        assert made.prior is None


def test_what_fills_a_list_is_no_other_answer_and_nothing_that_was_left_out():
    corpus, mined = mined_corpus()
    name, one = next(iter(mined.items()))
    left_out, second = one.negatives[0], one.negatives[1]
    answers = (*one.query.positives, second)
    changed = replace(
        one,
        query=replace(one.query, positives=answers),
        negatives=one.negatives[2:],
        excluded={left_out: "likely_relevant"},
    )
    builder = builder_of(corpus, {name: changed}, negatives=60)
    for place in range(6):
        made = builder.build(corpus.name, name, epoch=0, place=place)
        assert len(made.passage_ids) == len(corpus.passages) - 2
        assert left_out not in made.passage_ids
        assert [i for i in made.passage_ids if i in answers] == [made.passage_ids[0]]


def test_a_corpus_smaller_than_a_list_gives_a_shorter_list():
    corpus, mined = mined_corpus()
    name, one = next(iter(mined.items()))
    made = builder_of(corpus, mined, negatives=60).build(corpus.name, name, epoch=0, place=0)
    assert len(made.passage_ids) == len(corpus.passages) - len(one.excluded)


def test_the_prior_is_the_order_without_the_scorers_part():
    corpus, mined = mined_corpus()
    judged = [judged_list(corpus.name, m) for m in mined.values()]
    rng = np.random.default_rng(0)
    raw = [
        (25.0 * (0.3 * j.relevant + 0.2 * rng.random(len(j.candidates)))).astype(np.float32)
        for j in judged
    ]
    prior = FirstStagePrior.fitted(judged, raw)
    assert prior.slope > 0.1
    assert not any(name.startswith("raw") for name in prior.weights)
    assert any(weight != 0.0 for weight in prior.weights.values())
    one, first = judged[0], next(iter(mined.values()))
    columns = list_features(one.candidates)
    expected = sum(w * columns[n] for n, w in prior.weights.items())
    ids = [c.id for c in one.candidates]
    assert prior.logits(first, ids) == pytest.approx(expected)
    assert prior.logits(first, ["nowhere", ids[1]]) == pytest.approx(
        [min(expected), expected[1]]
    ), "not found: no better than the last that was"
    made = builder_of(corpus, mined, prior=prior).build(
        corpus.name, first.query.id, epoch=0, place=0
    )
    assert made.prior == prior.logits(first, made.passage_ids)
    plain = builder_of(corpus, mined).build(corpus.name, first.query.id, epoch=0, place=0)
    assert plain.passage_ids == made.passage_ids, "a prior changes no draw"


def test_a_scorer_that_orders_backwards_does_not_turn_the_scale_round():
    corpus, mined = mined_corpus()
    judged = [judged_list(corpus.name, m) for m in mined.values()]
    raw = [(-j.relevant.astype(np.float32)) for j in judged]
    assert FirstStagePrior.fitted(judged, raw).slope == 0.1
    assert FirstStagePrior.fitted(judged, [-r for r in raw]).slope > 1.0


class Fixed:
    """Scores that are known."""

    def __init__(self, values):
        self.module = torch.nn.Linear(1, 1)
        self.values = values

    def scores(self, lists):
        return [torch.tensor(self.values[: len(texts)]) for _, texts in lists]


def test_the_loss_adds_the_prior_and_zero_is_none():
    corpus, mined = mined_corpus()
    name = next(iter(mined))
    made = builder_of(corpus, mined, negatives=2, randoms=0).build(
        corpus.name, name, epoch=0, place=0
    )
    ranker = Fixed([1.0, 2.0, 4.0])
    plain = mean_list_loss(ranker, [made])
    assert plain == pytest.approx(np.log(np.exp([1.0, 2.0, 4.0]).sum()) - 1.0, abs=1e-6)
    assert mean_list_loss(ranker, [replace(made, prior=(0.0, 0.0, 0.0))]) == plain
    known = replace(made, prior=(3.0, 0.0, -2.0))
    assert list_scores(ranker, [known])[0].tolist() == [4.0, 2.0, 2.0]
    assert mean_list_loss(ranker, [known]) == pytest.approx(
        np.log(np.exp([4.0, 2.0, 2.0]).sum()) - 4.0, abs=1e-6
    )
