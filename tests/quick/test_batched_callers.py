"""Batched: none of the callers pays for another's error, deadline or leaving."""

import asyncio
import threading

import batched_kit
import pytest
from batched_kit import TEXTS, ask
from waiting import Clock, auntil, until

from rankgate.deadline import Deadline
from rankgate.errors import BreakerOpenError, InputError, ScorerError
from rankgate.scorers import ScoreContext
from rankgate.scorers.protocol import Job
from rankgate.scorers.wrappers import Batched, Breaker
from rankgate.testing import FailingScorer, FakeScorer

held = batched_kit.held


class Picky(FakeScorer):
    """Fails the whole call if one of its jobs is bad."""

    def score_many(self, jobs, context=None):
        if any("bad" in j.query for j in jobs):
            self.calls += 1
            raise ScorerError("a bad one is among them")
        return super().score_many(jobs, context)


def test_an_error_reaches_only_the_caller_it_belongs_to():
    inner = Picky()
    with Batched(inner, max_wait_ms=100) as batched:
        asked = [ask(batched, q) for q in ("red", "bad red", "red", "bad", "red")]
        for thread, _ in asked:
            thread.join(10)
    results = [out[0] for _, out in asked]
    assert [isinstance(r, ScorerError) for r in results] == [False, True, False, True, False]
    assert all(results[i].values.tolist() == [1.0] for i in (0, 2, 4))
    assert inner.calls == 6  # once together, once each


def test_wrong_input_never_reaches_the_others():
    with Batched(FakeScorer()) as batched:
        with pytest.raises(InputError):
            batched.score("q", [None])
        with pytest.raises(InputError):
            batched.score_many([Job(query="q", texts=["x"]), Job(query=None, texts=["x"])])
        assert batched.waiting == 0
        assert batched.score("red", ["red"]).complete


def test_an_open_breaker_is_not_asked_again_for_each():
    inner = FailingScorer(ScorerError("down"))
    breaker = Breaker(inner, min_calls=1, window=1)
    with pytest.raises(ScorerError):
        breaker.score("q", ["x"])
    with Batched(breaker, max_wait_ms=50) as batched:
        asked = [ask(batched, "red") for _ in range(4)]
        for thread, out in asked:
            thread.join(10)
            assert isinstance(out[0], BreakerOpenError)
    assert inner.calls == 1


def test_a_scorer_that_stops_the_program_does_not_leave_the_callers_waiting():
    with Batched(FailingScorer(SystemExit(3), times=1), max_wait_ms=0) as batched:
        with pytest.raises(SystemExit):
            batched.score("q", ["x"])
        assert batched.score("red", ["red"]).values[0] == 1.0


def test_each_caller_stops_waiting_at_its_own_deadline(held):
    inner, batched = held
    patient = ask(batched, "patient")
    hurried = ask(batched, "hurried", ["a", "b"], ScoreContext(deadline=Deadline.after(0.2)))
    until(lambda: batched.waiting == 2)
    inner.go.release()  # both now are in a batch that is not done
    hurried[0].join(5)
    assert hurried[1][0].scored.tolist() == [False, False]
    assert not patient[1]
    assert inner.contexts[1].deadline is None  # the patient one has all the time
    inner.go.release()
    patient[0].join(10)
    assert patient[1][0].complete


def test_the_batch_has_the_latest_deadline(held):
    inner, batched = held
    soon, late = Deadline.after(5), Deadline.after(50)
    asked = [ask(batched, "q", ["x"], ScoreContext(deadline=d)) for d in (soon, late, soon)]
    until(lambda: batched.waiting == 3)
    for _ in range(3):
        inner.go.release()
    for thread, _ in asked:
        thread.join(10)
    assert inner.contexts[1].deadline is late


def test_without_time_nothing_is_asked():
    inner = FakeScorer()
    with Batched(inner) as batched:
        over = ScoreContext(deadline=Deadline.after(0))
        scores = batched.score("red", ["red", "x"], over)
        assert scores.scored.tolist() == [False, False] and scores.scale == "fake"
        batched.score("red", ["red"])
    assert [j.query for j in inner.jobs] == ["red"] and inner.calls == 1


def reading(clock, seconds):
    """A scorer that takes so long for a text, by the clock."""

    def slowly(_query, _text):
        clock.advance(seconds)
        return 1.0

    return FakeScorer(slowly)


@pytest.mark.parametrize("limits", [{}, {"max_pairs": 2}])
def test_what_was_read_until_the_deadline_is_kept(limits):
    """In one batch that stopped in time, or in several, the last ones not begun."""
    clock = Clock()
    with Batched(reading(clock, 10), max_wait_ms=0, **limits) as batched:
        context = ScoreContext(deadline=Deadline.after(75, clock=clock))
        scores = batched.score("q", ["x"] * 50, context)
    assert scores.scored.tolist() == [True] * 8 + [False] * 42


async def test_a_cancelled_caller_does_not_harm_its_batch_mates(held):
    inner, batched = held
    leaves = asyncio.create_task(batched.ascore("leaves", ["leaves"]))
    stays = asyncio.create_task(batched.ascore("stays", ["stays"]))
    waits = asyncio.create_task(batched.ascore("never asked", ["x"]))
    await auntil(lambda: batched.waiting == 3)
    waits.cancel()
    await asyncio.wait([waits])
    inner.go.release()
    await auntil(lambda: len(inner.batches) == 2)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert not inner.contexts[1].cancelled.is_set()
    inner.go.release()
    assert (await stays).values.tolist() == [1.0]
    assert [q for q, _ in inner.batches[1]] == ["leaves", "stays"]


async def test_a_batch_for_which_nobody_waits_is_stopped(held):
    inner, batched = held
    task = asyncio.create_task(batched.ascore("leaves", ["leaves"] * 10))
    await auntil(lambda: batched.waiting == 1)
    inner.go.release()
    await auntil(lambda: len(inner.batches) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.contexts[1].cancelled.is_set()


async def test_async_deadlines_and_errors():
    clock = Clock()
    with Batched(reading(clock, 10), max_wait_ms=0) as batched:
        context = ScoreContext(deadline=Deadline.after(75, clock=clock))
        scores = await batched.ascore("q", ["x"] * 40, context)
        assert scores.scored.tolist() == [True] * 8 + [False] * 32
    with Batched(FailingScorer(ScorerError("down"))) as batched, pytest.raises(ScorerError):
        await batched.ascore_many([Job(query="q", texts=["x"]), Job(query="r", texts=["x"])])
    with Batched(FakeScorer(), count=len) as batched:
        many = await batched.ascore_many([Job(query="red", texts=TEXTS), Job(query="x", texts=[])])
        assert many[0].values.tolist() == [1.0, 0.0, 0.0, 1.0] and many[1].values.size == 0


def test_a_caller_in_a_thread_that_is_cancelled_leaves_at_once_and_its_batch_mate_stays(held):
    inner, batched = held
    gone, out = ScoreContext(), []
    leaves = threading.Thread(target=lambda: out.append(batched.score("leaves", ["x"], gone)))
    leaves.start()
    stays, found = ask(batched, "stays")
    until(lambda: batched.waiting == 2)
    inner.go.release()
    until(lambda: len(inner.batches) == 2)
    gone.cancelled.set()
    leaves.join(20)
    assert out[0].scored.tolist() == [False]
    assert not inner.contexts[1].cancelled.is_set()  # somebody still waits
    inner.go.release()
    stays.join(20)
    assert found[0].scored.all()


def test_a_batch_whose_only_caller_is_cancelled_from_outside_stops_at_its_next_chunk():
    gone, begun = ScoreContext(), []

    def leaving(_query, text):
        begun.append(text)
        gone.cancelled.set()
        return 1.0

    with Batched(FakeScorer(leaving), max_wait_ms=0) as batched:
        batched.score("q", ["x"] * 50, gone)
    assert begun == ["x"]  # the one under way, and none after it
