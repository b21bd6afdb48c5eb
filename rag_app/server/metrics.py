"""Numbers for Prometheus. No question, document or key is ever in a label."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rag_app.ask.result import AnswerResult
from rag_app.quality.recent import Recent
from rankgate.outcome import Outcome
from rankgate.types import Path

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The server's own registry, so that two servers in a process do not collide."""

    def __init__(self) -> None:
        self.registry = kept = CollectorRegistry()
        self.recent = Recent()
        self.requests = Counter(
            "rankgate_requests_total",
            "Requests by route and status",
            ["route", "status"],
            registry=kept,
        )
        self.stages = Histogram(
            "rankgate_stage_duration_seconds",
            "Time by stage of a question",
            ["stage"],
            buckets=_SECONDS,
            registry=kept,
        )
        self.outcomes, self.skipped, self.degraded, self.abstained = (
            Counter(name, f"Questions {what}", [label], registry=kept)
            for name, what, label in (
                ("rankgate_outcomes_total", "by what happened", "status"),
                ("rankgate_rerank_skipped_total", "that the gate skipped", "reason"),
                ("rankgate_degraded_total", "left in first-stage order by a failure", "reason"),
                ("rankgate_abstained_total", "refused", "reason"),
            )
        )
        self.generator_failures = Counter(
            "rankgate_generator_failures_total",
            "Questions whose answer could not be written",
            registry=kept,
        )
        self.in_flight, self.breaker_open = (
            Gauge(name, what, registry=kept)
            for name, what in (
                ("rankgate_questions_in_flight", "Questions that are being answered or wait"),
                (
                    "rankgate_scorer_breaker_open",
                    "1 while the scorer is left alone because it failed too often",
                ),
            )
        )

    def answered(self, result: AnswerResult) -> None:
        """Count one answered question."""
        self.searched(result.outcome)
        self.recent.add(result)
        for stage, ms in result.timings_ms.items():
            self.stages.labels(stage).observe(ms / 1000.0)
        if result.status == "generator_failed":
            self.generator_failures.inc()

    def searched(self, outcome: Outcome) -> None:
        """Count one decision of the reranker."""
        self.outcomes.labels(outcome.status.value).inc()
        if outcome.path is Path.SKIPPED:
            self.skipped.labels(outcome.path_reason).inc()
        if outcome.path is Path.DEGRADED:
            self.degraded.labels(outcome.path_reason).inc()
        if outcome.refused:
            self.abstained.labels(outcome.reason).inc()

    def text(self) -> bytes:
        """Prometheus' exposition format."""
        return generate_latest(self.registry)
