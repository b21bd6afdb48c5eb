"""The relevance model: one logit orders, and its probability is what the floor reads.

A logistic over named features of one passage among its competitors. With the single feature
`raw` it is Platt scaling (Platt 1999). Because the same number orders and floors, a passage
can never be dropped while a worse-ranked one stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.decide.logistic import Logistic
from rankgate.decide.signals import Signals
from rankgate.errors import PolicyError
from rankgate.types import Candidate

__all__ = ["FEATURE_NAMES", "RelevanceModel", "relevance_features"]

FloatArray = npt.NDArray[np.float64]

_RAW = ("raw", "raw_z", "raw_gap", "query_raw_top")
_FIRST_STAGE = (
    "dense",
    "dense_z",
    "dense_gap",
    "bm25_log",
    "bm25_z",
    "bm25_share",
    "reciprocal_rank",
    "log_rank",
)
_QUERY = tuple(
    f"query_{name}"
    for name in (
        "dense_top",
        "bm25_log_top",
        "unknown_share",
        "words_log",
        "dense_entropy",
        "bm25_entropy",
        "overlap_10",
        "rank_correlation_10",
    )
)
FEATURE_NAMES = frozenset((*_RAW, *_FIRST_STAGE, *_QUERY))


def _standardised(values: FloatArray) -> FloatArray:
    """Zero mean, unit variance; all zero where there is no variance."""
    if values.size == 0:
        return values
    std = float(values.std())
    if std <= 1e-9 * max(1.0, float(np.abs(values).max())):
        return np.zeros_like(values)
    result: FloatArray = (values - values.mean()) / std
    return result


def relevance_features(
    candidates: Sequence[Candidate],
    signals: Signals,
    raw: npt.NDArray[np.float32] | None = None,
) -> dict[str, FloatArray]:
    """Columns of (n,) features for the candidates of one query; unknown ones are absent.

    `raw_z`, `dense_z`, `bm25_z` are standardised within these candidates (0 where all are
    equal, so a single candidate has 0); `_gap` is the distance to the best (<= 0);
    `bm25_share` the share of the best (0..1); `bm25_log` log(1 + score). Features of the
    query are the same for all of its candidates: they move the probability, not the order.
    """
    n = len(candidates)
    columns: dict[str, FloatArray] = {}
    if raw is not None:
        r = raw.astype(np.float64)
        columns["raw"] = r
        columns["raw_z"] = _standardised(r)
        columns["raw_gap"] = r - r.max(initial=-np.inf) if n else r
    if n and all(c.dense is not None for c in candidates):
        d = np.array([c.dense for c in candidates], dtype=np.float64)
        columns["dense"] = d
        columns["dense_z"] = _standardised(d)
        columns["dense_gap"] = d - d.max()
    if n and all(c.bm25 is not None for c in candidates):
        b = np.array([c.bm25 for c in candidates], dtype=np.float64)
        columns["bm25_log"] = np.log1p(np.maximum(b, 0.0))
        columns["bm25_z"] = _standardised(b)
        top = float(b.max())
        columns["bm25_share"] = b / top if top > 0 else np.zeros_like(b)
    ranks = np.array([c.rank for c in candidates], dtype=np.float64)
    columns["reciprocal_rank"] = 1.0 / ranks
    columns["log_rank"] = np.log(ranks)
    per_query = {
        "query_raw_top": float(columns["raw"].max()) if n and raw is not None else None,
        "query_dense_top": signals.dense_top1,
        "query_bm25_log_top": None
        if signals.bm25_top1 is None
        else float(np.log1p(max(signals.bm25_top1, 0.0))),
        "query_unknown_share": signals.unknown_share,
        "query_words_log": float(np.log1p(signals.query_words)),
        "query_dense_entropy": signals.dense_entropy,
        "query_bm25_entropy": signals.bm25_entropy,
        "query_overlap_10": signals.overlap_10,
        "query_rank_correlation_10": signals.rank_correlation_10,
    }
    for name, value in per_query.items():
        if value is not None:
            columns[name] = np.full(n, value, dtype=np.float64)
    return columns


@dataclass(frozen=True, slots=True, kw_only=True)
class RelevanceModel:
    """A fitted logistic, and the scale of the raw scores it was fitted on.

    Attributes:
        model: the logistic over `FEATURE_NAMES`.
        scale: `Scores.scale` of its raw features; None where it reads first-stage features
            alone, as the model for skipped and degraded results does.
        provenance: data, split, n and fit quality, as the calibration recorded them.
    """

    model: Logistic
    scale: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [n for n in self.model.names if n not in FEATURE_NAMES]
        if unknown:
            raise PolicyError(
                f"unknown relevance feature {unknown[0]!r}; known: "
                f"{', '.join(sorted(FEATURE_NAMES))}"
            )
        reads_raw = any(n in _RAW for n in self.model.names)
        if reads_raw and self.scale is None:
            raise PolicyError("a relevance model that reads raw scores must name their scale")

    def missing(self, columns: Mapping[str, FloatArray]) -> tuple[str, ...]:
        """Features that the model needs and `columns` lacks."""
        return self.model.missing(columns)

    def logits(self, columns: Mapping[str, FloatArray], n: int) -> FloatArray:
        """(n,) logits; the caller has checked that nothing is missing."""
        return self.model.logits(columns, n)
