"""Timed: how long the scorer takes, as percentiles over its latest calls."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rankgate.errors import ConfigError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, ScorerInfo, Scores
from rankgate.scorers.steps import Call, Stepped, Steps
from rankgate.scorers.wrappers.traits import breaker_is_open, is_pointwise

if TYPE_CHECKING:
    from rankgate.scorers.wrappers.metrics import PrometheusMetrics

__all__ = ["Timed", "TimingSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingSummary:
    """Durations of the latest calls.

    Attributes:
        calls: all calls ever, failed ones included.
        failures: those that raised.
        window: calls that the percentiles are taken over.
        p50_ms, p95_ms, p99_ms: milliseconds, by the nearest-rank method, so each is a duration
            that occurred; None before the first call.
    """

    calls: int
    failures: int
    window: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Timed(Stepped):
    """Measures each call; one `score_many` is one call. No word of query or text is kept.

    A call whose caller has gone is not counted. Async calls are measured from their beginning to
    their end, waiting for a thread included. A pickled copy starts empty, without metrics.

    Args:
        inner: the scorer.
        metrics: where durations are reported to as well.
        window: calls that the percentiles look back on.
        stage: label of the durations in `metrics`.
        clock: seconds, monotonic.

    Raises:
        ConfigError: the window is empty.
    """

    def __init__(
        self,
        inner: Scorer,
        *,
        metrics: PrometheusMetrics | None = None,
        window: int = 1000,
        stage: str = "scorer",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if window < 1:
            raise ConfigError(f"window must be at least 1 call, got {window}")
        self.inner = inner
        self.metrics = metrics
        self._settings: dict[str, Any] = {"window": window, "stage": stage, "clock": clock}
        self._stage = stage
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[float] = deque(maxlen=window)
        self._calls = 0
        self._failures = 0

    @property
    def info(self) -> ScorerInfo:
        """The inner scorer's."""
        return self.inner.info

    @property
    def is_open(self) -> bool:
        """Whether a breaker inside would refuse a call now."""
        return breaker_is_open(self.inner)

    @property
    def pointwise(self) -> bool:
        """As the inner scorer."""
        return is_pointwise(self.inner)

    def steps(self, jobs: Sequence[Job], context: ScoreContext) -> Steps[list[Scores]]:
        """Pass the call on and measure it, whether it succeeds or raises."""
        begun = self._clock()
        try:
            answers = yield Call(scorer=self.inner, jobs=jobs, context=context)
        except Exception:
            self._observe(self._clock() - begun, failed=True)
            raise
        self._observe(self._clock() - begun, failed=False)
        return answers

    def summary(self) -> TimingSummary:
        """Percentiles over the window, and counts since the beginning."""
        with self._lock:
            ordered = sorted(self._seconds)
            calls, failures = self._calls, self._failures

        def percentile(share: float) -> float | None:
            if not ordered:
                return None
            return ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000.0

        return TimingSummary(
            calls=calls,
            failures=failures,
            window=len(ordered),
            p50_ms=percentile(0.50),
            p95_ms=percentile(0.95),
            p99_ms=percentile(0.99),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self), **self._settings), (self.inner,))

    def _observe(self, seconds: float, *, failed: bool) -> None:
        with self._lock:
            self._seconds.append(seconds)
            self._calls += 1
            self._failures += failed
        if self.metrics is not None:
            self.metrics.observe_stage(self._stage, seconds)
