"""Breaker: opens, waits, probes, closes; and counts only what says something of the scorer."""

import pickle
from dataclasses import replace

import breaker_kit
import pytest
from breaker_kit import Script, call, down, opened, play

from rankgate import Policy, Reranker, Status
from rankgate.deadline import Deadline
from rankgate.errors import BreakerOpenError, ConfigError, InputError, ScorerError
from rankgate.scorers import ScoreContext
from rankgate.scorers.wrappers import Batched, Breaker, BreakerState, Cached, Windowed
from rankgate.testing import FakeScorer, candidates_of

clock, script, breaker = breaker_kit.clock, breaker_kit.script, breaker_kit.breaker


def test_closed_it_only_passes_on(breaker, script):
    assert call(breaker) == 1.0
    assert breaker.info is script.info
    assert (breaker.state, breaker.is_open) == ("closed", False)


def test_it_opens_at_the_rate_and_not_before_enough_calls(breaker):
    play(breaker, down(), down(), down())
    assert not breaker.is_open
    play(breaker, None)
    assert breaker.is_open  # 3 of 4


def test_half_of_the_calls_is_inclusive_and_less_is_not(breaker):
    play(breaker, None, None, None, down(), None, down(), None)
    assert not breaker.is_open  # at most 2 of 6, then 2 of 7
    play(breaker, down(), None, down())
    assert not breaker.is_open  # 4 of 10
    play(breaker, down())
    assert breaker.is_open  # the window slides: 5 of 10


def test_open_it_refuses_without_calling(breaker, script):
    opened(breaker)
    before = script.calls
    with pytest.raises(BreakerOpenError, match=r"script is open.*30\.0 s") as caught:
        call(breaker)
    assert script.calls == before
    assert caught.value.reason == "breaker_open"


def test_a_good_probe_closes_and_the_past_is_forgotten(breaker, clock):
    opened(breaker)
    clock.now += 29.9
    assert breaker.is_open
    clock.now += 0.1
    assert (breaker.state, breaker.is_open) == ("half_open", False)
    assert call(breaker) == 1.0
    assert breaker.state is BreakerState.CLOSED
    play(breaker, down(), down(), down())
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("step", ["failure", "slow"])
def test_a_bad_probe_opens_for_the_full_time_again(breaker, clock, step):
    opened(breaker)
    clock.now += 30
    play(breaker, down() if step == "failure" else 0.2)
    assert breaker.state is BreakerState.OPEN
    clock.now += 29.5
    assert breaker.is_open
    clock.now += 0.5
    assert not breaker.is_open


def test_several_probes_must_all_succeed(script, clock):
    breaker = Breaker(script, min_calls=1, window=1, half_open_calls=2, clock=clock)
    play(breaker, down())
    clock.now += 30
    call(breaker)
    assert breaker.state is BreakerState.HALF_OPEN
    call(breaker)
    assert breaker.state is BreakerState.CLOSED


def test_slow_calls_open_it_though_they_succeed(breaker):
    for _ in range(3):
        breaker.inner.next.append(0.11)
        assert call(breaker) == 1.0
    play(breaker, 0.1)  # exactly at the limit is not slow: 3 of 4 is the rate
    assert breaker.is_open


@pytest.mark.parametrize("error", [InputError("no string"), KeyboardInterrupt(), SystemExit()])
def test_what_is_not_the_scorers_fault_does_not_count(breaker, error):
    for _ in range(10):
        breaker.inner.next.append(error)
        with pytest.raises(type(error)):
            call(breaker)
    play(breaker, *[None] * 3, down())
    assert not breaker.is_open


@pytest.mark.parametrize("error", [InputError("no string"), KeyboardInterrupt()])
def test_the_probes_place_is_given_back(breaker, clock, error):
    opened(breaker)
    clock.now += 30
    breaker.inner.next.append(error)
    with pytest.raises(type(error)) as caught:
        call(breaker)
    # `caught` keeps the traceback alive, so this does not depend on garbage collection.
    assert caught.value is error
    assert (breaker.state, breaker.is_open) == ("half_open", False)
    call(breaker)
    assert breaker.state is BreakerState.CLOSED


def test_calls_without_time_or_caller_say_nothing(breaker, script):
    over = ScoreContext(deadline=Deadline.after(0))
    script.next = [ScorerError("no time")] * 5
    for _ in range(5):
        with pytest.raises(ScorerError):
            call(breaker, over)
    left = ScoreContext()

    class Leaves(Script):
        def score(self, query, texts, context=None):
            left.cancelled.set()
            raise ScorerError("the caller has gone")

    other = Breaker(Leaves(), min_calls=1, window=1)
    with pytest.raises(ScorerError):
        call(other, left)
    assert not breaker.is_open and not other.is_open


@pytest.mark.parametrize("wrap", [Windowed, Cached, Batched, Breaker])
def test_it_is_seen_through_the_other_wrappers(wrap, breaker):
    outer = wrap(breaker)
    assert not outer.is_open
    opened(breaker)
    assert outer.is_open
    with pytest.raises(BreakerOpenError):
        outer.score("red", ["red"])
    if wrap is Batched:
        outer.close()


def test_the_reranker_does_not_even_call_and_comes_back_by_itself(breaker, script, clock):
    reranker = Reranker(Cached(breaker, max_bytes=0), policy=Policy.unfitted())
    candidates = candidates_of(["cat", "red cat", "red"])
    script.next = [down() for _ in range(4)]
    for _ in range(4):
        assert reranker.rerank("red cat", candidates).status is Status.DEGRADED
    before = script.calls
    outcome = reranker.rerank("red cat", candidates)
    assert (outcome.status, outcome.reason) == (Status.DEGRADED, "breaker_open")
    assert script.calls == before
    assert [p.candidate.id for p in outcome.kept] == ["c0", "c1", "c2"]
    clock.now += 30
    assert reranker.rerank("red cat", candidates).status is Status.RERANKED
    assert breaker.state is BreakerState.CLOSED


def test_reset_closes_it(breaker):
    opened(breaker)
    breaker.reset()
    assert call(breaker) == 1.0


@pytest.mark.parametrize(
    "bad",
    [
        {"min_calls": 0},
        {"min_calls": 21},
        {"failure_rate": 0.0},
        {"failure_rate": 1.01},
        {"slow_rate": float("nan")},
        {"slow_call_ms": 0},
        {"open_for_s": 0},
        {"half_open_calls": 0},
    ],
)
def test_numbers_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigError):
        Breaker(FakeScorer(), **bad)


def test_a_pickled_copy_has_the_settings_and_starts_closed():
    breaker = Breaker(Script(), min_calls=1, window=1, open_for_s=7.0)
    play(breaker, down())
    copy = pickle.loads(pickle.dumps(breaker))
    assert breaker.is_open and not copy.is_open
    assert copy.open_for_s == 7.0 and copy.min_calls == 1
    assert copy.info == replace(breaker.info)
