"""The outcome: what happened to one query, with everything that a later question needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankgate.decide.floor import Band
from rankgate.decide.gate import Decision
from rankgate.decide.signals import Signals
from rankgate.scorers.protocol import ScorerInfo, ScoreStats
from rankgate.types import FirstStageKind, Passage, Path, Status

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to one query. Nothing that a later question needs is thrown away.

    Attributes:
        status: reranked, skipped, degraded or refused.
        path: which stage ordered the passages, also when the query was refused.
        reason: a short code: why skipped, degraded or refused, or why the gate let it through.
        path_reason: why this path was taken; differs from `reason` where the query was refused.
        band: what the floor says of the query in words: answer, weak (evidence), refuse.
        sufficiency: probability that the best passages hold the answer; None: not asked.
        kept: passages for the generator, best first, at most `top_n`.
        dropped: all other candidates, in final order, each with its reason.
        decision: the gate's decision with the numbers that it saw.
        signals: what the gate could look at.
        scorer: the scorer that produced the raw scores, or would have.
        stats: what the scorer counted (windows, truncations, tokens, cost), and a reader where one
            was asked.
        timings_ms: milliseconds by step: signals, gate, score, order, read, total.
        notes: what the reader should know, such as a floor that could not be applied.
    """

    query: str
    status: Status
    path: Path
    reason: str
    detail: str = ""
    path_reason: str = ""
    band: Band = Band.ANSWER
    sufficiency: float | None = None
    kept: tuple[Passage, ...] = ()
    dropped: tuple[Passage, ...] = ()
    top_n: int
    first_stage: FirstStageKind
    decision: Decision
    signals: Signals
    scorer: ScorerInfo
    stats: ScoreStats
    policy: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the floor found even the best passage too weak."""
        return self.status is Status.REFUSED

    @property
    def judged_band(self) -> Band | None:
        """The band, where there was a probability for a floor to read; None: nobody judged."""
        return self.band if self.refused or self.best_probability is not None else None

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Kept and dropped passages in final order: every candidate, once."""
        return tuple(sorted((*self.kept, *self.dropped), key=lambda p: p.rank))

    @property
    def best_probability(self) -> float | None:
        """The highest `relevance_score` of all candidates, or None where there is none."""
        known = [p.relevance_score for p in self.passages if p.relevance_score is not None]
        return max(known, default=None)
