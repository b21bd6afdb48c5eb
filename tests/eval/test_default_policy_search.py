"""The search for the default policy's thresholds: what they may cost, and on whose scores."""

import numpy as np
import pytest
from policy_search import search_floor, search_gate

from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.signals import Signals
from rankgate.scorers import Scores
from rankgate.testing import candidates_of
from rankgate_eval.calibrate.rows import row_of

RERANKED = Logistic(intercept=0.0, features=(Feature(name="raw", weight=1.0),))
FIRST = Logistic(intercept=0.0, features=())
# nDCG@10 of the only relevant passage at rank 1 and at rank 2.
HARM = 1.0 - 1.0 / np.log2(3)


def question(margin, outcome="same", corpus="a", **markers):
    """Two candidates, the first stage's order and the scorer's; the best dense one leads by
    `margin`. `outcome` is what skipping does: `same`, `harms` or `helps`."""
    raw = [0.0, -1.0] if outcome == "same" else [-1.0, 0.0]
    signals = Signals(
        candidates=2, query_words=3, dense_margin_12=margin, dense_top1=0.9, **markers
    )
    return row_of(
        candidates_of(["a", "b"]),
        signals,
        Scores.full(raw, "planted"),
        gold=["c1" if outcome == "harms" else "c0"],
        query_id=f"{corpus}{margin}",
        corpus=corpus,
    )


def searched(max_loss=0.002, **views):
    return search_gate(views, RERANKED, FIRST, "dense", max_loss)


def margin_of(found):
    conditions, _ = found
    return {c.signal: c.value for c in conditions}


def test_a_question_that_skipping_helps_does_not_pay_for_one_that_it_harms():
    sure = [question(0.25) for _ in range(98)]
    found = searched(stranger=[*sure, question(0.05, "harms"), question(0.05, "helps")])
    assert margin_of(found) == {"dense_margin_12": 0.2, "dense_top1": 0.8}, "the strictest"
    assert found[1]["stranger"]["ndcg10_harm_by_corpus"] == {"a": 0.0}
    # Harm of a hundredth of .37 is allowed where the loss may be twice that, and only there.
    rows = [*sure, sure[0], question(0.05, "harms")]
    note = searched(2.0 * HARM / 100 + 1e-9, stranger=rows)[1]
    assert note["skip_rate"] == 1.0
    assert note["stranger"]["ndcg10_harm_by_corpus"]["a"] == pytest.approx(HARM / 100, abs=1e-5)
    assert searched(2.0 * HARM / 100 - 1e-6, stranger=rows)[1]["skip_rate"] == 0.99


def test_what_skipping_costs_on_the_scores_that_ship_counts_as_well():
    strangers = [question(0.25), question(0.05), question(0.12)]
    home = [question(0.25), question(0.05), question(0.12, "harms")]
    assert searched(stranger=strangers)[1]["skip_rate"] == 1.0
    found = searched(stranger=strangers, at_home=home)
    assert margin_of(found)["dense_margin_12"] == 0.2
    assert found[1]["skip_rate"] == pytest.approx(1 / 3, abs=1e-4)


def test_the_worst_corpus_decides_however_many_questions_the_others_have():
    many = [question(0.1) for _ in range(990)]
    few = [question(0.1, "harms", corpus="b"), *[question(0.3, corpus="b") for _ in range(9)]]
    found = searched(stranger=[*many, *few])
    assert margin_of(found)["dense_margin_12"] == 0.3
    assert found[1]["skip_rate_by_corpus"] == {"a": 0.0, "b": 0.9}


def test_marked_questions_are_never_counted_as_skipped():
    rows = [question(0.25), question(0.25, negation=1.0), question(0.25, "harms", conditional=1.0)]
    found = searched(stranger=rows)
    assert found[1]["skip_rate"] == pytest.approx(1 / 3, abs=1e-4)
    assert found[1]["stranger"]["ndcg10_harm_by_corpus"] == {"a": 0.0}


def test_no_thresholds_where_even_the_surest_question_is_harmed():
    assert searched(stranger=[question(0.9, "harms"), question(0.1)]) is None


def test_the_floor_keeps_false_refusals_of_the_worst_corpus_within_the_share():
    def asked(probability, corpus, stratum="answerable"):
        logit = float(np.log(probability / (1.0 - probability)))
        row = question(0.1, corpus=corpus)
        return row_of(
            candidates_of(["a", "b"]),
            row.signals,
            Scores.full([logit, -9.0], "planted"),
            gold=["c0"],
            stratum=stratum,
            corpus=corpus,
        )

    # Of 100 questions in each corpus, 2 below .1 in one, 3 below .1 and 1 below .05 in the other.
    easy = [asked(p, "a") for p in [0.08] * 2 + [0.4] * 98]
    hard = [asked(p, "b") for p in [0.03] + [0.08] * 2 + [0.4] * 97]
    others = [asked(0.2, c, s) for c in "ab" for s in ("removed", "foreign")]
    threshold, note = search_floor([*easy, *hard, *others], RERANKED, None, 0.03)
    assert 0.35 < threshold <= 0.4, "three of a hundred"
    assert note["reranked"]["b"]["false_refusals"] == 0.03
    assert note["reranked"]["a"]["false_answers_removed"] == 0.0
    lower, note = search_floor([*easy, *hard, *others], RERANKED, None, 0.025)
    assert 0.03 < lower <= 0.08
    assert note["reranked"]["a"]["false_refusals"] == 0.0
    assert note["reranked"]["a"]["false_answers_foreign"] == 1.0


def test_of_gates_that_skip_as_much_the_strictest_stays():
    found = searched(stranger=[question(0.1), question(0.25)])
    assert margin_of(found) == {"dense_margin_12": 0.1, "dense_top1": 0.8}


def test_views_of_different_questions_are_no_views():
    with pytest.raises(SystemExit, match="different questions"):
        searched(stranger=[question(0.1), question(0.2)], at_home=[question(0.2), question(0.1)])
