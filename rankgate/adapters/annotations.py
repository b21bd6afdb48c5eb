"""Annotations: what a passage carries of its own reranking, the same in every framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankgate.outcome import Outcome
from rankgate.types import Passage

__all__ = ["METADATA_KEYS", "annotated"]

METADATA_KEYS = (
    "relevance_score",
    "rankgate_band",
    "rankgate_dense",
    "rankgate_bm25",
    "rankgate_fused",
    "rankgate_rank_before",
    "rankgate_rank",
    "rankgate_raw_score",
    "rankgate_outcome",
    "rankgate_reason",
    "rankgate_scorer",
    "rankgate_found_by",
    "rankgate_failed_retrievers",
)


def annotated(
    metadata: Mapping[str, Any],
    outcome: Outcome,
    passage: Passage,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A copy of `metadata` with this pass's scores; those of an earlier pass are gone.

    `relevance_score` is the probability in [0, 1]. A key whose value is not known is absent,
    so that nobody takes a missing probability for a low one. `rankgate_band` is the query's, which
    the floor reads off the best passage: `answer`, `weak` or `refuse`. Our values are plain Python
    numbers, strings and mappings of these, so they serialise to JSON.

    Args:
        passage: as the outcome holds it.
        extra: further keys of `METADATA_KEYS` that a first stage knows of this passage.
    """
    kept = {
        key: value
        for key, value in metadata.items()
        if key != "relevance_score" and not key.startswith("rankgate_")
    }
    candidate, probability = passage.candidate, passage.relevance_score
    ours = {
        "relevance_score": probability,
        "rankgate_band": None if probability is None else outcome.band.value,
        "rankgate_dense": _plain(candidate.dense),
        "rankgate_bm25": _plain(candidate.bm25),
        "rankgate_fused": _plain(candidate.fused),
        "rankgate_rank_before": int(candidate.rank),
        "rankgate_rank": passage.rank,
        "rankgate_raw_score": passage.raw_score,
        "rankgate_outcome": outcome.status.value,
        "rankgate_reason": outcome.reason,
        "rankgate_scorer": outcome.scorer.id,
        **({} if extra is None else extra),
    }
    return {**kept, **{key: value for key, value in ours.items() if value is not None}}


def _plain(score: float | None) -> float | None:
    """NumPy's float32 is no JSON number."""
    return None if score is None else float(score)
