"""A naive scorer behind the Reranker: whatever it does, the request gets first-stage order."""

import dataclasses

import numpy as np
import pytest

from rankgate.errors import BadScoresError, ScorerTimeoutError
from rankgate.policy import Policy
from rankgate.reranker import Reranker
from rankgate.scorers.protocol import ScorerInfo, Scores
from rankgate.testing import FakeScorer, candidates_of
from rankgate.types import Path, Status

TEXTS = ["dogs bark", "the cat sat", "cats and a cat", "birds"]
QUERY = "cat"


class Naive:
    """What users write: `answer` is called with the number of texts."""

    info = ScorerInfo(id="naive", scale="naive")

    def __init__(self, answer):
        self.answer = answer

    def score(self, query, texts, context=None):
        return self.answer(len(texts))


class NaiveAsync(Naive):
    async def ascore(self, query, texts, context=None):
        return self.answer(len(texts))


def _values(*values):
    return lambda n: Scores.full(values, "naive")


def _raising(error):
    def answer(n):
        raise error

    return answer


def _not_a_permutation(n):
    return dataclasses.replace(Scores.full(np.arange(n), "naive"), order=np.zeros(n, dtype=np.intp))


BAD = {
    "none": (lambda n: None, "bad_scores"),
    "plain_list": (lambda n: [0.1] * n, "bad_scores"),
    "array": (lambda n: np.arange(n), "bad_scores"),
    "nan": (_values(0.1, float("nan"), 0.3, 0.4), "bad_scores"),
    "inf": (_values(0.1, float("inf"), 0.3, 0.4), "bad_scores"),
    "minus_inf": (_values(0.1, float("-inf"), 0.3, 0.4), "bad_scores"),
    "too_few": (_values(0.1, 0.2, 0.3), "bad_scores"),
    "too_many": (_values(0.1, 0.2, 0.3, 0.4, 0.5), "bad_scores"),
    "empty": (_values(), "bad_scores"),
    "order": (_not_a_permutation, "bad_scores"),
    "raises": (_raising(ZeroDivisionError("oops")), "scorer_error"),
    "times_out": (_raising(ScorerTimeoutError("late")), "timeout"),
    "refuses": (_raising(BadScoresError("no")), "bad_scores"),
    "os_error": (_raising(ConnectionResetError("gone")), "scorer_error"),
    "memory": (_raising(MemoryError()), "scorer_error"),
}


def check(outcome, reason):
    assert outcome.status is Status.DEGRADED and outcome.path is Path.DEGRADED
    assert outcome.reason == reason
    assert outcome.detail
    assert [p.candidate.text for p in outcome.passages] == TEXTS
    assert [p.candidate.text for p in outcome.kept] == TEXTS[:2]
    assert all(p.raw_score is None for p in outcome.passages)


@pytest.mark.parametrize("kind", sorted(BAD))
def test_degraded_with_the_reason(kind):
    answer, reason = BAD[kind]
    reranker = Reranker(Naive(answer), policy=Policy.unfitted())
    check(reranker.rerank(QUERY, candidates_of(TEXTS), top_n=2), reason)


@pytest.mark.parametrize("native", [Naive, NaiveAsync])
@pytest.mark.parametrize("kind", sorted(BAD))
async def test_degraded_with_the_reason_async(kind, native):
    answer, reason = BAD[kind]
    reranker = Reranker(native(answer), policy=Policy.unfitted())
    check(await reranker.arerank(QUERY, candidates_of(TEXTS), top_n=2), reason)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(3)])
def test_what_stops_the_program_is_not_swallowed(stop):
    reranker = Reranker(Naive(_raising(stop)), policy=Policy.unfitted())
    with pytest.raises(type(stop)):
        reranker.rerank(QUERY, candidates_of(TEXTS))


def test_nan_where_nothing_was_read_does_no_harm():
    def partly(n):
        values = np.full(n, np.nan, dtype=np.float32)
        values[2] = 1.0
        return Scores(values=values, scale="naive", scored=np.arange(n) == 2)

    outcome = Reranker(Naive(partly), policy=Policy.unfitted()).rerank(QUERY, candidates_of(TEXTS))
    assert outcome.reason == "deadline_partial"
    assert [p.index for p in outcome.passages] == [2, 0, 1, 3]


def test_the_same_path_with_a_good_scorer_reranks():
    """So that the tests above cannot pass by degrading always."""
    reranker = Reranker(FakeScorer(), policy=Policy.unfitted())
    outcome = reranker.rerank(QUERY, candidates_of(TEXTS), top_n=2)
    assert outcome.status is Status.RERANKED
    assert [p.index for p in outcome.kept] == [1, 2]
