"""Fusion of a dense and a BM25 list into one: reciprocal ranks, or weighted scores."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from rankgate.errors import PolicyError

__all__ = ["Fusion", "reciprocal_rank_fusion", "weighted_fusion"]

Id = TypeVar("Id", bound=Hashable)


def _ordered(totals: Mapping[Id, float]) -> list[tuple[Id, float]]:
    """Best first; ties keep the order in which ids were first seen (sort is stable)."""
    return sorted(totals.items(), key=lambda item: -item[1])


def reciprocal_rank_fusion(
    lists: Sequence[Sequence[Id]], *, k: float = 60.0, weights: Sequence[float] | None = None
) -> list[tuple[Id, float]]:
    """Sum of `weight / (k + rank)` over the lists, ranks from 1.

    Source: Cormack, Clarke and Buettcher, SIGIR 2009, doi:10.1145/1571941.1572114.

    Args:
        lists: ids, best first; an id that stands twice in a list counts at its best rank.
        k: smoothing; 60 in the paper.
        weights: one a list; None: all 1.

    Returns:
        Every id once with its score, best first, ties in the order of first appearance.
    """
    factors = [1.0] * len(lists) if weights is None else list(weights)
    totals: dict[Id, float] = {}
    for ids, weight in zip(lists, factors, strict=True):
        for rank, identifier in enumerate(dict.fromkeys(ids), start=1):
            totals[identifier] = totals.get(identifier, 0.0) + weight / (k + rank)
    return _ordered(totals)


def weighted_fusion(
    lists: Sequence[Mapping[Id, float]], *, weights: Sequence[float]
) -> list[tuple[Id, float]]:
    """Weighted sum of min-max normalised scores (each list to [0, 1]).

    A list without variance gives 0.5 to each of its ids: it tells nothing. An id that a list
    lacks gets 0 from it.

    Returns:
        Every id once with its score, best first, ties in the order of first appearance.
    """
    totals: dict[Id, float] = {}
    for scores, weight in zip(lists, weights, strict=True):
        if not scores:
            continue
        low, high = min(scores.values()), max(scores.values())
        for identifier, value in scores.items():
            unit = (value - low) / (high - low) if high > low else 0.5
            totals[identifier] = totals.get(identifier, 0.0) + weight * unit
    return _ordered(totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """How the two lists are merged.

    Attributes:
        method: `rrf` (ranks) or `weighted` (min-max normalised scores).
        rrf_k: smoothing of RRF.
        dense_weight, bm25_weight: >= 0; 0 takes a list out.
    """

    method: Literal["rrf", "weighted"] = "rrf"
    rrf_k: float = 60.0
    dense_weight: float = 1.0
    bm25_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.method not in ("rrf", "weighted"):
            raise PolicyError(f"fusion method must be rrf or weighted, got {self.method!r}")
        if not self.rrf_k > 0:
            raise PolicyError(f"rrf_k must be above 0, got {self.rrf_k}")
        if not (self.dense_weight >= 0 and self.bm25_weight >= 0):
            raise PolicyError("fusion weights must not be negative")
        if self.dense_weight + self.bm25_weight == 0:
            raise PolicyError("one of the fusion weights must be above 0")

    def fuse(self, dense: Mapping[Id, float], bm25: Mapping[Id, float]) -> list[tuple[Id, float]]:
        """Merge two lists given as id -> score in order, best first.

        A list whose weight is 0 contributes neither scores nor ids.
        """
        pairs = [(dense, self.dense_weight), (bm25, self.bm25_weight)]
        used = [(scores, weight) for scores, weight in pairs if weight > 0]
        lists, weights = [s for s, _ in used], [w for _, w in used]
        if self.method == "rrf":
            return reciprocal_rank_fusion(
                [list(scores) for scores in lists], k=self.rrf_k, weights=weights
            )
        return weighted_fusion(lists, weights=weights)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a policy file."""
        return asdict(self)
