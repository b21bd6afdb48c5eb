"""Features of a passage among its competitors: for orders within one list, never a probability.

Training weighs a scorer against what the first stage knows already, and baselines are tuned, by
orders that nobody thresholds; what a policy orders and floors by is `rankgate.decide`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rankgate.types import Candidate

__all__ = ["list_features"]

FloatArray = npt.NDArray[np.float64]


def list_features(
    candidates: Sequence[Candidate], raw: npt.NDArray[np.float32] | None = None
) -> dict[str, FloatArray]:
    """Columns of (n,) features; those that the candidates' scores do not give are absent.

    `_z` is standardised within these candidates (0 where all are equal), `_gap` the distance to
    the best (<= 0), `bm25_share` the share of the best (0..1).
    """
    columns: dict[str, FloatArray] = {}
    if not candidates:
        return columns
    if raw is not None:
        columns |= _relative("raw", raw.astype(np.float64))
    if all(c.dense is not None for c in candidates):
        columns |= _relative("dense", np.array([c.dense for c in candidates], dtype=np.float64))
    if all(c.bm25 is not None for c in candidates):
        bm25 = np.array([c.bm25 for c in candidates], dtype=np.float64)
        columns |= _relative("bm25", bm25)
        top = float(bm25.max())
        columns["bm25_share"] = bm25 / top if top > 0 else np.zeros_like(bm25)
    columns["reciprocal_rank"] = 1.0 / np.array([c.rank for c in candidates], dtype=np.float64)
    return columns


def _relative(name: str, values: FloatArray) -> dict[str, FloatArray]:
    std = float(values.std())
    flat = std <= 1e-9 * max(1.0, float(np.abs(values).max()))
    z = np.zeros_like(values) if flat else (values - values.mean()) / std
    return {f"{name}_gap": values - values.max(), f"{name}_z": z}
