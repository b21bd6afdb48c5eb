"""Mining: hard negatives come from the top, duplicates and likely answers do not."""

import numpy as np
import pytest
from training_kit import WordEmbedder, builder_of, small_corpus

from rankgate.errors import InputError
from rankgate_eval.train.mining import MarginRule, Miner, TrainingCorpus, TrainingQuery

QUERY = TrainingQuery(id="q", text="red cat in paris", positives=("right",))
PASSAGES = {
    "right": "a red cat that was seen by many people in paris last summer near the river",
    "copy": "a red cat that was seen by many people in paris last summer near the old river",
    "part": "a red cat that was seen by many people in paris last summer near the river and then "
    "it went on to other towns where nobody has ever looked at cats of any colour at all",
    "answer": "red cat in paris again",
    "hard": "the cat of paris is black",
    "easy": "bread needs salt",
}


class Fixed:
    """Chosen cosines to the query; passages at right angles to each other otherwise."""

    def __init__(self, cosines):
        self.cosines = cosines

    def embed(self, texts):
        ids = {text: name for name, text in PASSAGES.items()}
        rows = np.zeros((len(texts), len(PASSAGES) + 1), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            if text == QUERY.text:
                row[0] = 1.0
                continue
            name = ids[text]
            row[0] = self.cosines[name]
            row[1 + list(PASSAGES).index(name)] = np.sqrt(1.0 - row[0] ** 2)
        return rows


def mined(cosines=None, query=QUERY, **rule):
    corpus = TrainingCorpus(name="c", passages=PASSAGES, queries=(query,))
    embedder = None if cosines is None else Fixed(cosines)
    return Miner(corpus, embedder=embedder, rule=MarginRule(**rule)).mine([query])[0]


COSINES = {"right": 0.6, "copy": 0.5, "part": 0.4, "answer": 0.58, "hard": 0.55, "easy": 0.1}


def test_copies_are_left_out_whatever_their_scores():
    found = mined(COSINES)
    assert found.excluded["copy"] == "duplicate"
    assert found.excluded["part"] == "duplicate", "all of the positive stands in it"
    assert "copy" not in found.negatives


def test_two_rankers_must_agree_that_a_passage_is_as_good_as_the_positive():
    assert mined(COSINES).excluded["answer"] == "likely_relevant"
    alone = mined({**COSINES, "answer": 0.56})  # below .95 * .6 in dense, above in BM25
    assert "answer" in alone.negatives and "answer" in alone.doubted
    assert "hard" in alone.negatives and "hard" not in alone.doubted
    assert "answer" in mined({**COSINES, "answer": 0.56}, margin=0.9).excluded
    assert "answer" in mined(COSINES, margin=1.2).negatives, "not clearly better than the positive"


def test_with_one_ranker_that_one_decides():
    found = mined(None)
    assert found.excluded["answer"] == "likely_relevant"
    assert all(c.dense is None for c in found.candidates)
    assert "easy" not in [c.id for c in found.candidates], "no word in common"


def test_a_cosine_alone_can_show_a_duplicate():
    found = mined({**COSINES, "hard": 0.6}, cosine=0.36)
    assert found.excluded["hard"] == "duplicate"


def test_known_negatives_come_first_and_are_never_excluded():
    query = TrainingQuery(id="q", text=QUERY.text, positives=("right",), negatives=("answer",))
    found = mined(COSINES, query=query)
    assert found.negatives[0] == "answer" and "answer" not in found.excluded


def test_candidates_keep_the_positive_and_both_scores():
    found = mined(COSINES)
    assert "right" in [c.id for c in found.candidates]
    assert [c.rank for c in found.candidates] == list(range(1, len(found.candidates) + 1))
    assert {c.id: round(c.dense, 2) for c in found.candidates} == COSINES
    assert all(c.bm25 is not None for c in found.candidates)


@pytest.mark.parametrize(
    "changed", [{"margin": 0.0}, {"margin": 2.1}, {"jaccard": 1.1}, {"cosine": -0.2}]
)
def test_rules_out_of_range_are_refused(changed):
    with pytest.raises(InputError, match=next(iter(changed))):
        MarginRule(**changed)


@pytest.fixture(scope="module")
def built():
    corpus = small_corpus()
    miner = Miner(corpus, embedder=WordEmbedder())
    table = {m.query.id: m for m in miner.mine(corpus.queries)}

    def make(**changed):
        return builder_of(
            corpus,
            table,
            **{"negatives": 4, "randoms": 1, "depth": 20, "spoiled": 0.15, "seed": 0, **changed},
        )

    return make


def test_a_list_has_its_positive_first_and_no_passage_twice(built):
    builder = built(negatives=4, randoms=2, spoiled=0.0)
    for epoch in range(5):
        one = builder.build("colours", "q-cat-paris", epoch=epoch, place=7)
        assert one.passage_ids[0] == "cat-paris"
        assert len(set(one.passage_ids)) == len(one.passage_ids) == 7
        assert one.texts[0].endswith("cat sat in paris to live")
        excluded = builder.mined["colours"]["q-cat-paris"].excluded
        assert not set(one.passage_ids) & set(excluded)


def test_lists_depend_on_seed_epoch_and_place_alone(built):
    def ids(builder, epoch, place):
        return builder.build("colours", "q-dog-paris", epoch=epoch, place=place).passage_ids

    same = built(seed=1)
    assert ids(same, 0, 3) == ids(built(seed=1), 0, 3)
    others = {ids(same, 1, 3), ids(same, 0, 4), ids(built(seed=2), 0, 3)}
    assert len(others - {ids(same, 0, 3)}) == 3


def test_mined_passages_come_from_the_top(built):
    builder = built(negatives=2, randoms=0, depth=3, spoiled=0.0)
    top = builder.mined["colours"]["q-dog-paris"].negatives[:3]
    for place in range(20):
        one = builder.build("colours", "q-dog-paris", epoch=0, place=place)
        assert set(one.passage_ids[1:]) <= set(top)


def test_a_pool_is_what_the_model_chooses_from_and_changes_nothing_else(built):
    builder = built(negatives=2, randoms=1)
    negatives = builder.mined["colours"]["q-dog-paris"].negatives
    plain = builder.build("colours", "q-dog-paris", epoch=0, place=0)
    assert plain.open == 0 and len(plain.passage_ids) == 4
    pool = builder.build("colours", "q-dog-paris", epoch=0, place=0, pool=5)
    assert pool.open == 5 and len(pool.passage_ids) == 1 + 5 + 1
    assert set(pool.passage_ids[1:6]) <= set(negatives[: builder.settings.depth])
    few = builder.build("colours", "q-dog-paris", epoch=0, place=0, pool=2)
    assert few == plain, "nothing to choose"


def test_a_corpus_of_few_passages_gives_shorter_lists():
    corpus = TrainingCorpus(
        name="c",
        passages={"a": "red", "b": "blue"},
        queries=(TrainingQuery(id="q", text="red", positives=("a",)),),
    )
    table = {m.query.id: m for m in Miner(corpus).mine(corpus.queries)}
    builder = builder_of(corpus, table, negatives=4)
    assert builder.build("c", "q", epoch=0, place=0).passage_ids == ("a", "b")


def test_what_the_rule_left_out_does_not_come_back_as_a_random_passage():
    corpus = TrainingCorpus(name="c", passages=PASSAGES, queries=(QUERY,))
    table = {m.query.id: m for m in Miner(corpus, embedder=Fixed(COSINES)).mine([QUERY])}
    builder = builder_of(corpus, table, negatives=1, randoms=3)
    for place in range(10):
        found = builder.build("c", "q", epoch=0, place=place).passage_ids
        assert set(found) == {"right", "hard", "easy"}
