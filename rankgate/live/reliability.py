"""Reliability: whether a relevance probability means what it says.

Measured at the top, where the floor reads it. Over all 50 candidates of a query 49 are easy
negatives, and an expected calibration error would praise a model that always says 0.02.

A probability belongs to the mixture of questions that it was fitted for: where half of them have
no answer it is lower than where all have one. So questions are weighted to that mixture before
anything is compared (Saerens et al., Neural Computation 14, 2002, doi:10.1162/089976602753284446).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.bounds import clopper_pearson
from rankgate.errors import InputError

__all__ = ["Bin", "Reliability", "measure_reliability", "mixture_weights", "reliability_at_top"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Passages of similar probability.

    Attributes:
        low, high: least and greatest probability in it.
        predicted: mean probability.
        observed: share that is relevant.
        observed_low, observed_high: exact 95% binomial interval of that share, of Kish's
            effective number where passages weigh differently; too narrow where passages of one
            query stand together, as they do at top-n.
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
    """How probabilities compare with what came true; rates and means as passages weigh.

    Attributes:
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


def mixture_weights(unanswerable: Sequence[bool], share: float) -> FloatArray:
    """(n,) weights, their mean 1, under which `share` of the questions are unanswerable.

    Args:
        unanswerable: (n,) of each question.
        share: in [0, 1); at 0 unanswerable questions weigh nothing.

    Raises:
        InputError: `share` out of range, or questions of a kind that it needs are missing.
    """
    kinds = np.asarray(unanswerable, dtype=np.bool_)
    if not 0.0 <= share < 1.0:
        raise InputError(f"the share of unanswerable questions is in [0, 1), got {share}")
    found = float(kinds.mean()) if kinds.size else 0.0
    if found == 1.0 or not kinds.size:
        raise InputError("there is no answerable question, so no mixture with any can be weighted")
    if found == 0.0 and share > 0.0:
        raise InputError(
            f"there is no unanswerable question, so none can be {share:.0%} of the mixture; "
            "add some, or name a share of 0"
        )
    unanswered = share / found if found else 0.0
    return np.where(kinds, unanswered, (1.0 - share) / (1.0 - found))


def measure_reliability(
    probabilities: npt.ArrayLike,
    relevant: npt.ArrayLike,
    *,
    bins: int = 10,
    reference_rate: float | None = None,
    weights: npt.ArrayLike | None = None,
) -> Reliability:
    """Brier score, Brier skill and reliability curve.

    Args:
        probabilities: (n,) in [0, 1].
        relevant: (n,) truth values.
        bins: at most so many.
        reference_rate: that the skill is measured against, such as the rate of the split that
            the model was fitted on; None: the rate of these passages.
        weights: (n,) of the passages, at least 0, such as `mixture_weights`; None: all the same.
            What weighs nothing is not counted.

    Raises:
        InputError: no passage, lengths differ, a probability outside [0, 1], or a weight below 0.
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
    w = np.ones(p.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != p.shape or not (np.isfinite(w) & (w >= 0.0)).all() or not w.any():
        raise InputError(f"weights must be {p.size} finite numbers of at least 0, some above 0")
    p, y, w = p[w > 0.0], y[w > 0.0], w[w > 0.0]
    rate = float(np.average(y, weights=w))
    reference = rate if reference_rate is None else reference_rate
    if not 0.0 <= reference <= 1.0:
        raise InputError(f"reference_rate must be in [0, 1], got {reference}")
    brier = float(np.average((p - y) ** 2, weights=w))
    worst = float(np.average((reference - y) ** 2, weights=w))
    return Reliability(
        n=int(p.size),
        base_rate=rate,
        predicted=float(np.average(p, weights=w)),
        brier=brier,
        brier_skill=None if worst == 0.0 else 1.0 - brier / worst,
        bins=_curve(p, y, w, bins),
    )


def reliability_at_top(
    probabilities: Sequence[Sequence[float]],
    relevant: Sequence[Sequence[bool]],
    *,
    top: int,
    bins: int = 10,
    reference_rate: float | None = None,
    weights: Sequence[float] | None = None,
) -> Reliability:
    """`measure_reliability` over the first `top` passages of every query's list.

    Args:
        probabilities: one list a query, in final order; shorter and empty lists are allowed.
        relevant: truth values of the same passages.
        top: 1 for what refuses a query, top_n for what drops a passage.
        bins: as in `measure_reliability`.
        reference_rate: as in `measure_reliability`.
        weights: of the queries, each of whose passages weighs as much; None: all the same.

    Raises:
        InputError: lists do not match, `top` is below 1, or nothing is left.
    """
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}")
    p: list[float] = []
    y: list[bool] = []
    w: list[float] = []
    weighed = [1.0] * len(probabilities) if weights is None else weights
    if len(weighed) != len(probabilities):
        raise InputError(f"{len(probabilities)} lists of probabilities, {len(weighed)} weights")
    if len(probabilities) != len(relevant):
        raise InputError(f"{len(probabilities)} lists of probabilities, {len(relevant)} of truth")
    for i, (row, truth) in enumerate(zip(probabilities, relevant, strict=True)):
        if len(row) != len(truth):
            raise InputError(f"query {i}: {len(row)} probabilities, {len(truth)} truth values")
        p += row[:top]
        y += truth[:top]
        w += [weighed[i]] * len(row[:top])
    return measure_reliability(p, y, bins=bins, reference_rate=reference_rate, weights=w)


def _curve(p: FloatArray, y: FloatArray, w: FloatArray, bins: int) -> tuple[Bin, ...]:
    # The upper edges are values that occur; equal ones fall together, so ties stay in one bin.
    rising = np.argsort(p, kind="stable")
    mass = np.cumsum(w[rising])
    wanted = np.arange(1, bins + 1) / bins * mass[-1] * (1.0 - 1e-12)  # for sums of rounded parts
    edges = np.unique(p[rising][np.searchsorted(mass, wanted, side="left")])
    index = np.searchsorted(edges, p, side="left")
    curve = []
    for i in range(edges.size):
        inside = index == i
        weight = w[inside]
        observed = float(np.average(y[inside], weights=weight))
        # As many as count: Kish's effective number, n where all weigh the same.
        effective = float(weight.sum() ** 2 / (weight**2).sum())
        low, high = clopper_pearson(min(observed * effective, effective), effective)
        curve.append(
            Bin(
                low=float(p[inside].min()),
                high=float(p[inside].max()),
                n=int(inside.sum()),
                predicted=float(np.average(p[inside], weights=weight)),
                observed=observed,
                observed_low=low,
                observed_high=high,
            )
        )
    return tuple(curve)
