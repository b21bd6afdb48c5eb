"""The values that travel through a reranking: candidates in, passages out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rankgate.errors import InputError

__all__ = ["Candidate", "Dropped", "FirstStageKind", "Passage", "Path", "Status"]


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
