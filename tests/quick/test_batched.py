"""Batched: one call for many callers, within limits, and stages get their lists whole."""

import asyncio
import time

import batched_kit
import numpy as np
import pytest
from batched_kit import TEXTS, Gated, ask
from waiting import auntil, until

from rankgate.deadline import Deadline
from rankgate.errors import BadScoresError, ConfigError
from rankgate.scorers import Cascade, ScoreContext, Scores
from rankgate.scorers.wrappers import Batched
from rankgate.testing import FakeScorer

held = batched_kit.held


def test_one_caller_gets_what_the_scorer_gives():
    inner = FakeScorer()
    with Batched(inner) as batched:
        scores = batched.score("red cat", TEXTS)
        np.testing.assert_array_equal(scores.values, FakeScorer().score("red cat", TEXTS).values)
        assert scores.stats.pairs == 4 and scores.complete
        assert batched.score("red cat", []).values.size == 0
        assert inner.calls == 1
        assert batched.info is inner.info


def test_who_waits_at_the_same_time_shares_one_call(held):
    inner, batched = held
    asked = [ask(batched, f"q{i} red", [f"q{i}", "red"]) for i in range(10)]
    until(lambda: batched.waiting == 10)
    inner.go.release()
    inner.go.release()
    for thread, out in asked:
        thread.join(10)
        assert out[0].values.tolist() == [0.5, 0.5]
    assert [len(b) for b in inner.batches] == [1, 10]


def test_waiting_for_company_is_bounded():
    inner = FakeScorer()
    with Batched(inner, max_wait_ms=60) as batched:
        begun = time.monotonic()
        asked = [ask(batched, "red") for _ in range(5)]
        for thread, _ in asked:
            thread.join(10)
        assert 0.05 < time.monotonic() - begun < 5
        assert inner.calls == 1
        # A full batch does not wait.
        begun = time.monotonic()
        full = Batched(inner, max_wait_ms=60_000, max_pairs=2)
        assert full.score("red", ["red", "x"]).complete
        # Nor does one with little time left: at most a quarter of it.
        hurried = Batched(inner, max_wait_ms=60_000)
        context = ScoreContext(deadline=Deadline.after(0.4))
        assert hurried.score("red", ["red"], context).complete
        assert time.monotonic() - begun < 5
        full.close()
        hurried.close()


def test_batches_keep_to_their_limits_first_come_first_served():
    with batched_kit.holding(max_pairs=3) as (inner, batched):
        asked = []
        for i, n in enumerate((2, 1, 2, 2)):
            asked.append(ask(batched, f"q{i}", ["red"] * n))
            until(lambda: batched.waiting == len(asked))
        for _ in range(10):
            inner.go.release()
        for thread, _ in asked:
            thread.join(10)
    sizes = [[(q, len(t)) for q, t in b] for b in inner.batches[1:]]
    assert sizes == [[("q0", 2), ("q1", 1)], [("q2", 2), ("q3", 1)], [("q3", 1)]]


def test_tokens_limit_a_batch_and_a_single_large_pair_still_goes():
    inner = FakeScorer()
    texts = ["x" * 10, "x" * 500, "x" * 10, "x" * 10]
    with Batched(inner, max_tokens=30, max_wait_ms=0, count=len) as batched:
        scores = batched.score("12345", texts)
    assert scores.complete and scores.stats.pairs == 4
    assert [len(j.texts) for j in inner.jobs] == [1, 1, 2]


def test_a_huge_request_does_not_starve_the_others():
    inner = Gated(lambda _q, t: float(len(t)))
    with Batched(inner, max_pairs=4, max_wait_ms=0) as batched:
        texts = ["x" * i for i in range(40)]
        huge, out = ask(batched, "huge", texts)
        assert inner.entered.acquire(timeout=10)
        small = [ask(batched, f"small{i}") for i in range(3)]
        until(lambda: batched.waiting == 4)
        for _ in range(3):
            inner.go.release()
        for thread, _ in small:
            thread.join(10)
        # Served in the second and third batch, while most of the huge one is still to come.
        assert not out and len(inner.batches) <= 4
        for _ in range(20):
            inner.go.release()
        huge.join(10)
    assert out[0].values.tolist() == [float(i) for i in range(40)]
    assert out[0].complete and out[0].stats.pairs == 40


def test_a_stage_gets_its_lists_whole():
    fast, accurate = FakeScorer(lambda _q, t: len(t)), FakeScorer(lambda _q, t: -len(t))
    with Batched(Cascade(fast, accurate, keep=3), max_pairs=4, max_wait_ms=0) as batched:
        scores = batched.score("q", ["x" * i for i in range(20)])
    assert scores.order[:4].tolist() == [17, 18, 19, 16]
    assert accurate.calls == 1 and not batched.pointwise


def test_a_stage_that_does_not_say_so_is_told_to():
    class Sly(FakeScorer):
        def _one(self, job, context):
            scores = super()._one(job, context)
            return Scores(
                values=scores.values,
                scale="s",
                scored=scores.scored,
                order=np.arange(scores.values.size),
            )

    with (
        Batched(Sly(), max_pairs=2, max_wait_ms=0) as batched,
        pytest.raises(BadScoresError, match="pointwise = False"),
    ):
        batched.score("q", ["a", "b", "c"])


async def test_event_loops_and_threads_share_batches_and_the_loop_stays_free(held):
    inner, batched = held
    tasks = [asyncio.create_task(batched.ascore(f"a{i}", [f"a{i}"])) for i in range(5)]
    thread, out = ask(batched, "thread", ["thread"])
    await auntil(lambda: batched.waiting == 6)
    inner.go.release()
    inner.go.release()
    results = await asyncio.gather(*tasks)
    await asyncio.to_thread(thread.join, 10)
    assert [r.values.tolist() for r in [*results, out[0]]] == [[1.0]] * 6
    assert [len(b) for b in inner.batches] == [1, 6]


@pytest.mark.parametrize(
    "bad", [{"max_tokens": 0}, {"max_pairs": 0}, {"max_wait_ms": -1}, {"max_wait_ms": float("inf")}]
)
def test_limits_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigError):
        Batched(FakeScorer(), **bad)
