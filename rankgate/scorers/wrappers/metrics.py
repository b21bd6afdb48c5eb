"""Prometheus metrics: durations by stage, and what was skipped, degraded and refused, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankgate.errors import MissingExtraError
from rankgate.scorers.wrappers.breaker import Breaker, BreakerState
from rankgate.types import Outcome, Path

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["PrometheusMetrics"]

_BREAKER_VALUES = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 1.0, BreakerState.OPEN: 2.0}
# Seconds. From a cached answer to a slow remote model.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class PrometheusMetrics:
    """Counts outcomes; labels are short codes of this library, never a query's or text's words.

    - `rankgate_stage_duration_seconds{stage}`: signals, gate, score, order, total; `scorer` from
      a `Timed`.
    - `rankgate_rerank_skipped_total{reason}`: the gate's reason.
    - `rankgate_degraded_total{reason}`: why stage two did not order.
    - `rankgate_abstained_total{reason}`: which floor refused.
    - `rankgate_breaker_state`: 0 closed, 1 half-open, 2 open; without a breaker 0.

    A result that was skipped or degraded *and* refused counts in both places.

    Args:
        registry: where they are registered; None: a new one, found as `.registry`, so that two
            objects never collide.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as exc:
            raise MissingExtraError("PrometheusMetrics", "metrics") from exc
        self.registry = CollectorRegistry() if registry is None else registry
        self._durations = Histogram(
            "rankgate_stage_duration_seconds",
            "Duration of one stage of a reranking.",
            ["stage"],
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._skipped = Counter(
            "rankgate_rerank_skipped_total",
            "Queries whose second stage the gate skipped.",
            ["reason"],
            registry=self.registry,
        )
        self._degraded = Counter(
            "rankgate_degraded_total",
            "Queries that fell back to the first stage's order, whole or in part.",
            ["reason"],
            registry=self.registry,
        )
        self._abstained = Counter(
            "rankgate_abstained_total",
            "Queries for which no passage was good enough.",
            ["reason"],
            registry=self.registry,
        )
        self._breaker = Gauge(
            "rankgate_breaker_state",
            "0 closed, 1 half-open, 2 open.",
            registry=self.registry,
        )

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Add one duration; `stage` is a fixed name, not something that a user typed."""
        self._durations.labels(stage=stage).observe(seconds)

    def observe_outcome(self, outcome: Outcome) -> None:
        """Count one outcome and its timings."""
        for stage, milliseconds in outcome.timings_ms.items():
            self.observe_stage(stage, milliseconds / 1000.0)
        if outcome.path is Path.SKIPPED:
            self._skipped.labels(reason=outcome.decision.reason).inc()
        elif outcome.path is Path.DEGRADED:
            self._degraded.labels(reason=outcome.path_reason).inc()
        if outcome.refused:
            self._abstained.labels(reason=outcome.reason).inc()

    def watch_breaker(self, breaker: Breaker) -> None:
        """Report this breaker's state from now on, read whenever metrics are collected."""
        self._breaker.set_function(lambda: _BREAKER_VALUES[breaker.state])

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
