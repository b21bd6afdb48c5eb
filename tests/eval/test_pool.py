"""Every query is read once: what is kept, and what failures leave behind."""

import numpy as np
import pytest

from rankgate.decide.signals import compute_signals
from rankgate.errors import InputError, ScorerError
from rankgate.testing import FakeScorer
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.errors import SystemFailedError
from rankgate_eval.run.pool import read_pool
from rankgate_eval.run.system import as_first_stage

DATA = Dataset(
    name="made",
    corpus={"p1": "rain falls", "p2": "snow falls softly", "p3": "sun shines"},
    queries={"a": "rain falls", "b": "snow", "c": "nothing"},
    qrels={"a": {"p1": 1}, "b": {"p2": 1}},
    splits={},
)
LISTS = {"rain falls": ["p3", "p2", "p1"], "snow": ["p1", "p2"], "nothing": []}
STAGE = as_first_stage(lambda query, k: LISTS[query][:k], data=DATA)


class Broken(FakeScorer):
    """Fails on one query."""

    def score_many(self, jobs, context=None):
        if any(job.query == "snow" for job in jobs):
            raise ScorerError("no snow today")
        return super().score_many(jobs, context)


def test_the_scorer_reads_the_first_k_and_the_rest_is_kept():
    pool = read_pool(STAGE, DATA, ["b", "a", "c"], scorer=FakeScorer(), k=2, depth=3)
    assert list(pool) == ["b", "a", "c"]
    a = pool["a"]
    assert [c.id for c in a.candidates] == ["p3", "p2"]
    assert [c.id for c in a.found.candidates] == ["p3", "p2", "p1"]
    expected = FakeScorer().score("rain falls", ["sun shines", "snow falls softly"]).values
    np.testing.assert_array_equal(a.raw, expected)
    assert a.scored.all() and a.raw[1] > a.raw[0]
    assert a.signals == compute_signals("rain falls", a.candidates)
    assert pool["c"].candidates == () and pool["c"].raw.shape == (0,)


def test_a_query_on_which_the_scorer_fails_stays_with_its_error():
    pool = read_pool(STAGE, DATA, ["a", "b"], scorer=Broken(), k=3, max_failures=0.5)
    assert pool["b"].scorer_error == "ScorerError: no snow today"
    assert not pool["b"].scored.any() and len(pool["b"].candidates) == 2
    assert pool["a"].scorer_error is None and pool["a"].scored.all()


def test_a_scorer_that_fails_too_often_stops_the_run():
    with pytest.raises(SystemFailedError, match="no snow today"):
        read_pool(STAGE, DATA, ["a", "b"], scorer=Broken(), k=3)


def test_progress_goes_from_retrieving_to_scoring():
    seen = []
    read_pool(
        STAGE,
        DATA,
        ["a", "b"],
        scorer=FakeScorer(),
        k=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_times_are_those_of_the_stage_and_of_the_scorer():
    ticks = iter([0.0, 0.004, 0.010, 0.017])
    pool = read_pool(STAGE, DATA, ["b"], scorer=FakeScorer(), k=2, clock=lambda: next(ticks))
    assert pool["b"].first_stage_ms == pytest.approx(4.0)
    assert pool["b"].scorer_ms == pytest.approx(7.0)


def test_depth_is_at_least_k():
    with pytest.raises(InputError, match="depth"):
        read_pool(STAGE, DATA, ["a"], scorer=FakeScorer(), k=5, depth=3)
