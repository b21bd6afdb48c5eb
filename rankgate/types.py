"""The values that travel through a reranking: candidates in, an outcome out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rankgate.errors import InputError

if TYPE_CHECKING:
    from rankgate.decide.gate import Decision
    from rankgate.decide.signals import Signals
    from rankgate.scorers.protocol import ScorerInfo, ScoreStats

__all__ = ["Candidate", "Dropped", "FirstStageKind", "Outcome", "Passage", "Path", "Status"]


class FirstStageKind(StrEnum):
    """Which first-stage scores the candidates carry; a policy has a section for each."""

    HYBRID = "hybrid"
    DENSE = "dense"
    BM25 = "bm25"
    ORDER = "order"


class Path(StrEnum):
    """Which stage ordered the result."""

    RERANKED = "reranked"
    SKIPPED = "skipped"
    DEGRADED = "degraded"


class Status(StrEnum):
    """What happened to the query: its path, unless the floor refused it."""

    RERANKED = "reranked"
    SKIPPED = "skipped"
    DEGRADED = "degraded"
    REFUSED = "refused"


class Dropped(StrEnum):
    """Why a passage is not among the kept ones."""

    BELOW_FLOOR = "below_floor"
    BEYOND_TOP_N = "beyond_top_n"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A passage as the first stage found it.

    Attributes:
        id: the caller's identifier; not required to be unique.
        text: what the scorer reads.
        rank: 1-based position in the first stage's order.
        metadata: the caller's; carried through untouched.
        dense: cosine similarity in [-1, 1], or None where the first stage has none.
        bm25: BM25 score (>= 0), or None where the first stage has none.
        fused: the fusion's own score, for display; never compared across queries.
    """

    id: str
    text: str
    rank: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    dense: float | None = None
    bm25: float | None = None
    fused: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(
                f"candidate {self.id!r}: text must be a string, got {type(self.text).__name__}. "
                "Pass the passage's text, not the document object."
            )
        if self.rank < 1:
            raise InputError(f"candidate {self.id!r}: rank is 1-based, got {self.rank}")
        for name, value in (("dense", self.dense), ("bm25", self.bm25)):
            if value is not None and not math.isfinite(value):
                raise InputError(
                    f"candidate {self.id!r}: {name} must be finite or None, got {value}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A candidate after the decision, with every score that it was given.

    Attributes:
        candidate: the candidate, as it came in.
        index: 0-based position in the caller's input.
        rank: 1-based position in the final order over *all* candidates, dropped ones included.
        raw_score: the scorer's value on its own scale; None where it was not read.
        logit: what ordered it; None where no relevance model applied.
        relevance_score: sigmoid of `logit`, a probability in [0, 1]; None without one.
        dropped: why it is not kept; None for a kept passage.
    """

    candidate: Candidate
    index: int
    rank: int
    raw_score: float | None = None
    logit: float | None = None
    relevance_score: float | None = None
    dropped: Dropped | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to one query. Nothing that a later question needs is thrown away.

    Attributes:
        query: the query as scored.
        status: reranked, skipped, degraded or refused.
        path: which stage ordered the passages, also when the query was refused.
        reason: a short code: why skipped, degraded or refused, or why the gate let it through.
        detail: the reason in a sentence.
        path_reason: why this path was taken; differs from `reason` where the query was refused.
        kept: passages for the generator, best first, at most `top_n`.
        dropped: all other candidates, in final order, each with its reason.
        decision: the gate's decision with the numbers that it saw.
        signals: what the gate could look at.
        scorer: the scorer that produced the raw scores, or would have.
        stats: what the scorer counted (windows, truncations, tokens, cost).
        timings_ms: milliseconds by step: signals, gate, score, order, total.
        notes: what the reader should know, such as a floor that could not be applied.
    """

    query: str
    status: Status
    path: Path
    reason: str
    detail: str = ""
    path_reason: str = ""
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
    def passages(self) -> tuple[Passage, ...]:
        """Kept and dropped passages in final order: every candidate, once."""
        return tuple(sorted((*self.kept, *self.dropped), key=lambda p: p.rank))

    @property
    def best_probability(self) -> float | None:
        """The highest `relevance_score` of all candidates, or None where there is none."""
        known = [p.relevance_score for p in self.passages if p.relevance_score is not None]
        return max(known, default=None)
