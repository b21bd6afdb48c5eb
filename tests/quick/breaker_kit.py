"""A clock to set, a scorer that follows a script, and a breaker over them."""

import pytest
from waiting import Clock

from rankgate.errors import BreakerOpenError, InputError, ScorerError
from rankgate.scorers import ScorerInfo
from rankgate.scorers.wrappers import Breaker, BreakerState
from rankgate.testing import FakeScorer


class Script:
    """Does what the next entry of the script says: an error, seconds to take, or nothing."""

    info = ScorerInfo(id="script", scale="s")

    def __init__(self, clock=None):
        self.clock = clock
        self.next = []
        self.calls = 0

    def score(self, query, texts, context=None):
        self.calls += 1
        step = self.next.pop(0) if self.next else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            self.clock.now += step
        return FakeScorer().score(query, texts)


def down():
    return ScorerError("down")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def script(clock):
    return Script(clock)


@pytest.fixture
def breaker(script, clock):
    return Breaker(
        script,
        window=10,
        min_calls=4,
        failure_rate=0.5,
        slow_call_ms=100,
        slow_rate=0.75,
        open_for_s=30,
        clock=clock,
    )


def call(breaker, context=None):
    return breaker.score("red", ["red"], context).values[0]


def play(breaker, *steps):
    """One call a step; errors are swallowed."""
    for step in steps:
        breaker.inner.next.append(step)
        try:
            call(breaker)
        except BreakerOpenError:
            breaker.inner.next.clear()
            raise
        except (ScorerError, InputError):
            pass


def opened(breaker):
    play(breaker, *[down() for _ in range(4)])
    assert breaker.state is BreakerState.OPEN
