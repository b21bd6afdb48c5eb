"""Breaker under threads and event loops: one probe at a time, and no call counted wrongly."""

import asyncio
import threading

import breaker_kit
import pytest
from breaker_kit import Script, call, down
from waiting import Clock

from rankgate.errors import BreakerOpenError, ScorerError
from rankgate.scorers import ScorerInfo
from rankgate.scorers.wrappers import Breaker, BreakerState
from rankgate.testing import FakeScorer

clock = breaker_kit.clock


class Held:
    """Waits until it is let go; remembers how many are inside."""

    info = ScorerInfo(id="held", scale="s")

    def __init__(self):
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)
        self.fail = False

    def score(self, query, texts, context=None):
        self.inside.release()
        assert self.go.wait(10)
        if self.fail:
            raise down()
        return FakeScorer().score(query, texts)


def in_thread(breaker):
    results = []

    def ask():
        try:
            results.append(float(call(breaker)))
        except ScorerError as exc:
            results.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, results


def probed(clock, held, *, fails):
    """A breaker that opened and whose probe is inside, to fail or not; the probe's thread."""
    breaker = Breaker(held, min_calls=1, window=1, clock=clock)
    held.fail = True
    held.go.set()
    with pytest.raises(ScorerError):
        call(breaker)
    assert held.inside.acquire(timeout=5)
    held.go.clear()
    held.fail = fails
    clock.now += 30
    thread, results = in_thread(breaker)
    assert held.inside.acquire(timeout=5)
    return breaker, thread, results


def test_while_one_probes_the_others_are_refused(clock):
    held = Held()
    breaker, thread, results = probed(clock, held, fails=False)
    assert breaker.state is BreakerState.HALF_OPEN and breaker.is_open
    with pytest.raises(BreakerOpenError):
        call(breaker)
    held.go.set()
    thread.join(10)
    assert results == [1.0]
    assert not breaker.is_open


def test_a_probe_that_hangs_does_not_keep_it_shut_for_ever(clock):
    held = Held()
    breaker, thread, results = probed(clock, held, fails=True)
    clock.now += 30
    assert not breaker.is_open
    breaker.inner = FakeScorer()
    call(breaker)
    assert breaker.state is BreakerState.CLOSED
    held.go.set()
    thread.join(10)
    assert isinstance(results[0], ScorerError)
    assert breaker.state is BreakerState.CLOSED  # the old probe's failure is of another time


def test_what_began_before_it_opened_does_not_count_afterwards():
    clock, held = Clock(), Held()
    breaker = Breaker(held, min_calls=2, window=2, clock=clock)
    held.fail = True
    threads = [in_thread(breaker)[0] for _ in range(4)]
    for _ in threads:
        assert held.inside.acquire(timeout=5)
    held.go.set()
    for thread in threads:
        thread.join(10)
    assert breaker.is_open
    clock.now += 30
    held.fail = False
    call(breaker)
    assert breaker.state is BreakerState.CLOSED


async def test_async_counts_alike_and_a_cancelled_probe_gives_its_place_back(clock):
    class Native:
        info = ScorerInfo(id="native", scale="s")
        hang = fail = False
        asked = asyncio.Event()

        def score(self, query, texts, context=None):
            raise AssertionError("the async path is wanted")

        async def ascore(self, query, texts, context=None):
            if self.hang:
                self.asked.set()
                await asyncio.Event().wait()  # for ever
            if self.fail:
                raise down()
            return FakeScorer().score(query, texts)

    native = Native()
    breaker = Breaker(native, min_calls=2, window=2, clock=clock)
    native.fail = True
    for _ in range(2):
        with pytest.raises(ScorerError):
            await breaker.ascore("red", ["red"])
    with pytest.raises(BreakerOpenError):
        await breaker.ascore("red", ["red"])
    clock.now += 30
    native.fail, native.hang = False, True
    task = asyncio.create_task(breaker.ascore("red", ["red"]))
    await native.asked.wait()
    assert breaker.is_open
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not breaker.is_open
    native.hang = False
    assert (await breaker.ascore("red", ["red"])).values[0] == 1.0
    assert breaker.state is BreakerState.CLOSED


def test_many_threads_leave_the_count_right():
    class Fails(Script):
        def score(self, query, texts, context=None):
            raise down()

    breaker = Breaker(Fails(), window=400, min_calls=400)
    threads = [
        threading.Thread(target=lambda: [in_thread(breaker)[0].join() for _ in range(19)])
        for _ in range(21)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not breaker.is_open  # 399
    with pytest.raises(ScorerError):
        call(breaker)
    assert breaker.is_open
