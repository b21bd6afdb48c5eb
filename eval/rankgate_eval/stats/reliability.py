"""Reliability: whether a relevance probability means what it says.

Measured at the top, where the floor reads it. Over all 50 candidates of a query 49 are easy
negatives, and an expected calibration error would praise a model that always says 0.02.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.bounds import clopper_pearson
from rankgate.errors import InputError

__all__ = ["Bin", "Reliability", "measure_reliability", "reliability_at_top"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Passages of similar probability.

    Attributes:
        low, high: least and greatest probability in it.
        n: passages.
        predicted: mean probability.
        observed: share that is relevant.
        observed_low, observed_high: exact 95% binomial interval of that share; too narrow
            where passages of one query stand together, as they do at top-n.
    """

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    observed_low: float
    observed_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How probabilities compare with what came true.

    Attributes:
        n: passages.
        base_rate: share that is relevant, in [0, 1].
        predicted: mean probability.
        brier: mean squared error, in [0, 1], lower is better (Brier 1950,
            doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).
        brier_skill: 1 - brier / (brier of always saying the reference rate); 1 is perfect, 0 is
            no better than the rate; None where that reference makes no error at all.
        bins: of equal mass, by rising probability; equal probabilities are never parted.
    """

    n: int
    base_rate: float
    predicted: float
    brier: float
    brier_skill: float | None
    bins: tuple[Bin, ...]


def measure_reliability(
    probabilities: npt.ArrayLike,
    relevant: npt.ArrayLike,
    *,
    bins: int = 10,
    reference_rate: float | None = None,
) -> Reliability:
    """Brier score, Brier skill and reliability curve.

    Args:
        probabilities: (n,) in [0, 1].
        relevant: (n,) truth values.
        bins: at most so many.
        reference_rate: that the skill is measured against, such as the rate of the split that
            the model was fitted on; None: the rate of these passages.

    Raises:
        InputError: no passage, lengths differ, or a probability outside [0, 1].
    """
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(relevant, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or p.size == 0:
        raise InputError(f"one truth value a probability is needed, got {p.shape} and {y.shape}")
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise InputError(f"probabilities must be in [0, 1], got {p.min()} to {p.max()}")
    if not np.isin(y, (0.0, 1.0)).all():
        raise InputError("relevance must be true or false; turn grades into `grade > 0` first")
    if bins < 1:
        raise InputError(f"bins must be at least 1, got {bins}")
    rate = float(y.mean())
    reference = rate if reference_rate is None else reference_rate
    if not 0.0 <= reference <= 1.0:
        raise InputError(f"reference_rate must be in [0, 1], got {reference}")
    brier = float(((p - y) ** 2).mean())
    worst = float(((reference - y) ** 2).mean())
    return Reliability(
        n=int(p.size),
        base_rate=rate,
        predicted=float(p.mean()),
        brier=brier,
        brier_skill=None if worst == 0.0 else 1.0 - brier / worst,
        bins=_curve(p, y, bins),
    )


def reliability_at_top(
    probabilities: Sequence[Sequence[float]],
    relevant: Sequence[Sequence[bool]],
    *,
    top: int,
    bins: int = 10,
    reference_rate: float | None = None,
) -> Reliability:
    """`measure_reliability` over the first `top` passages of every query's list.

    Args:
        probabilities: one list a query, in final order; shorter and empty lists are allowed.
        relevant: truth values of the same passages.
        top: 1 for what refuses a query, top_n for what drops a passage.
        bins: as in `measure_reliability`.
        reference_rate: as in `measure_reliability`.

    Raises:
        InputError: lists do not match, `top` is below 1, or nothing is left.
    """
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}")
    p: list[float] = []
    y: list[bool] = []
    if len(probabilities) != len(relevant):
        raise InputError(f"{len(probabilities)} lists of probabilities, {len(relevant)} of truth")
    for i, (row, truth) in enumerate(zip(probabilities, relevant, strict=True)):
        if len(row) != len(truth):
            raise InputError(f"query {i}: {len(row)} probabilities, {len(truth)} truth values")
        p += row[:top]
        y += truth[:top]
    return measure_reliability(p, y, bins=bins, reference_rate=reference_rate)


def _curve(p: npt.NDArray[np.float64], y: npt.NDArray[np.float64], bins: int) -> tuple[Bin, ...]:
    # The upper edges are values that occur; equal ones fall together, so ties stay in one bin.
    edges = np.unique(np.quantile(p, np.arange(1, bins + 1) / bins, method="inverted_cdf"))
    index = np.searchsorted(edges, p, side="left")
    curve = []
    for i in range(edges.size):
        inside = index == i
        n, hits = int(inside.sum()), int(y[inside].sum())
        low, high = clopper_pearson(hits, n)
        curve.append(
            Bin(
                low=float(p[inside].min()),
                high=float(p[inside].max()),
                n=n,
                predicted=float(p[inside].mean()),
                observed=hits / n,
                observed_low=low,
                observed_high=high,
            )
        )
    return tuple(curve)
