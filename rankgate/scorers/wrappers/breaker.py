"""Breaker: leaves a failing or slow scorer alone for a while instead of waiting for it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

from rankgate.errors import BreakerOpenError, ConfigError, InputError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, Scores
from rankgate.scorers.steps import Call, Steps, run
from rankgate.scorers.wrappers.traits import Around, breaker_is_open

__all__ = ["Breaker", "BreakerState"]

logger = logging.getLogger("rankgate")


class BreakerState(StrEnum):
    """Closed lets calls through, open refuses them, half-open lets a few through as a probe."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker(Around):
    """A circuit breaker (Nygard, Release It!) with sliding failure and slow-call rates.

    Counted as a failure: any exception, except an `InputError` (the caller's mistake). Not
    counted at all: calls whose caller has gone, and calls begun after their deadline. A slow
    call that succeeds still returns its scores. One `score_many` is one call.

    While half-open, `half_open_calls` calls may go through at a time; as many quick successes
    close the breaker, one failure or slow call opens it again. A probe that does not return
    within `open_for_s` no longer holds its place. What comes back from calls begun before a
    change of state does not count in the new one.

    Thread-safe and async-safe: the lock is held while counting, never while scoring. A pickled
    copy starts closed.

    Args:
        window: calls that the rates look back on.
        min_calls: with fewer calls in the window, it does not open.
        failure_rate: opens at this share of failures, within (0, 1].
        slow_call_ms: calls longer than this are slow; None: none is.
        slow_rate: opens at this share of slow calls, within (0, 1].
        open_for_s: seconds before the first probe.
        half_open_calls: probes at a time, and successes needed to close.
        clock: seconds, monotonic.

    Raises:
        ConfigError: a number that cannot be.
    """

    def __init__(
        self,
        inner: Scorer,
        *,
        window: int = 20,
        min_calls: int = 5,
        failure_rate: float = 0.5,
        slow_call_ms: float | None = None,
        slow_rate: float = 0.5,
        open_for_s: float = 30.0,
        half_open_calls: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= min_calls <= window:
            raise ConfigError(f"min_calls must be within 1..window, got {min_calls} of {window}")
        for name, rate in (("failure_rate", failure_rate), ("slow_rate", slow_rate)):
            if not 0.0 < rate <= 1.0:
                raise ConfigError(f"{name} must be above 0 and at most 1, got {rate}")
        if slow_call_ms is not None and not slow_call_ms > 0:
            raise ConfigError(f"slow_call_ms must be above 0, or None, got {slow_call_ms}")
        if not open_for_s > 0 or half_open_calls < 1:
            raise ConfigError(
                "open_for_s must be above 0 and half_open_calls at least 1, got "
                f"{open_for_s} and {half_open_calls}"
            )
        self.inner = inner
        self.failure_rate = failure_rate
        self.slow_rate = slow_rate
        self.min_calls = min_calls
        self.open_for_s = open_for_s
        self.half_open_calls = half_open_calls
        self.slow_call_s = math.inf if slow_call_ms is None else slow_call_ms / 1000.0
        self._settings: dict[str, Any] = {
            "window": window,
            "min_calls": min_calls,
            "failure_rate": failure_rate,
            "slow_call_ms": slow_call_ms,
            "slow_rate": slow_rate,
            "open_for_s": open_for_s,
            "half_open_calls": half_open_calls,
            "clock": clock,
        }
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: deque[tuple[bool, bool]] = deque(maxlen=window)
        self._state = BreakerState.CLOSED
        self._epoch = 0
        self._since = clock()
        self._probes = 0
        self._probed_at = self._since
        self._recovered = 0

    @property
    def state(self) -> BreakerState:
        """The state that a call now would meet: open turns half-open when its time is over."""
        with self._lock:
            self._refresh()
            return self._state

    @property
    def is_open(self) -> bool:
        """Whether a call now would be refused, by this breaker or by one inside."""
        with self._lock:
            self._refresh()
            refused = self._refuses()
        return refused or breaker_is_open(self.inner)

    def reset(self) -> None:
        """Close, and forget what was counted."""
        with self._lock:
            self._enter(BreakerState.CLOSED)

    def steps(self, jobs: Sequence[Job], context: ScoreContext) -> Steps[list[Scores]]:
        """Let one call through, or refuse it.

        Raises:
            BreakerOpenError: it is open, or half-open with its probes under way.
            Exception: whatever the inner scorer raises.
        """
        counts = not context.should_stop
        epoch = self._admit()
        begun = self._clock()
        try:
            answers: list[Scores] = yield Call(scorer=self.inner, jobs=jobs, context=context)
        except InputError:
            self._release(epoch)
            raise
        except Exception:
            self._settle(
                epoch, begun, failed=True, counts=counts and not context.cancelled.is_set()
            )
            raise
        except BaseException:  # the caller has gone; that says nothing about the scorer
            self._release(epoch)
            raise
        self._settle(epoch, begun, failed=False, counts=counts and not context.cancelled.is_set())
        return answers

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """Score several queries; an interrupted call gives its place back at once."""
        steps = self.steps(jobs, ScoreContext() if context is None else context)
        try:
            return run(steps)
        finally:
            steps.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self), **self._settings), (self.inner,))

    def _admit(self) -> int:
        """The current epoch, with a probe's place taken where the breaker is half-open."""
        with self._lock:
            self._refresh()
            if self._refuses():
                wait = max(0.0, self._since + self.open_for_s - self._clock())
                raise BreakerOpenError(
                    f"the breaker around {self.inner.info.id} is {self._state.value}: the scorer "
                    "failed or was slow too often and is left alone"
                    + (f" for another {wait:.1f} s" if self._state is BreakerState.OPEN else "")
                )
            if self._state is BreakerState.HALF_OPEN:
                self._probes += 1
                self._probed_at = self._clock()
            return self._epoch

    def _refresh(self) -> None:
        now = self._clock()
        if self._state is BreakerState.OPEN and now - self._since >= self.open_for_s:
            self._enter(BreakerState.HALF_OPEN)
        elif (
            self._state is BreakerState.HALF_OPEN
            and self._probes >= self.half_open_calls
            and now - self._probed_at >= self.open_for_s
        ):
            # Probes that hang must not keep the breaker shut for ever.
            self._enter(BreakerState.HALF_OPEN)

    def _refuses(self) -> bool:
        if self._state is BreakerState.HALF_OPEN:
            return self._probes >= self.half_open_calls
        return self._state is BreakerState.OPEN

    def _release(self, epoch: int) -> None:
        with self._lock:
            if epoch == self._epoch and self._state is BreakerState.HALF_OPEN:
                self._probes -= 1

    def _settle(self, epoch: int, begun: float, *, failed: bool, counts: bool) -> None:
        if not counts:
            self._release(epoch)
            return
        with self._lock:
            if epoch != self._epoch:
                return
            slow = self._clock() - begun > self.slow_call_s
            if self._state is BreakerState.HALF_OPEN:
                self._probes -= 1
                if failed or slow:
                    self._enter(BreakerState.OPEN)
                    return
                self._recovered += 1
                if self._recovered >= self.half_open_calls:
                    self._enter(BreakerState.CLOSED)
                return
            self._calls.append((failed, slow))
            n = len(self._calls)
            if n < self.min_calls:
                return
            failures = sum(f for f, _ in self._calls) / n
            slow_ones = sum(s for _, s in self._calls) / n
            if failures >= self.failure_rate or slow_ones >= self.slow_rate:
                self._enter(BreakerState.OPEN)

    def _enter(self, state: BreakerState) -> None:
        if state is not self._state:
            logger.warning("breaker around %s: %s", self.inner.info.id, state.value)
        self._state = state
        self._epoch += 1
        self._since = self._probed_at = self._clock()
        self._calls.clear()
        self._probes = self._recovered = 0
