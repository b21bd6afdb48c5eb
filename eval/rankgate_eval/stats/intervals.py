"""Intervals of means, whole clusters at a time: how far a sample of queries can be trusted.

Queries about one document succeed and fail together, so the unit of chance is the cluster (the
document group), not the query. The estimand stays the mean over queries.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError, MissingExtraError

FloatArray = npt.NDArray[np.float64]
_WORST = -1.0  # difference of two metrics in [0, 1]
CELLS = 4_000_000  # of one block of resamples: bounds memory, whatever the number of queries


@dataclass(frozen=True, slots=True)
class Clustered:
    """Differences summed by cluster: (g,) sums and (g,) sizes."""

    sums: FloatArray
    sizes: FloatArray

    @property
    def mean(self) -> float:
        """Over queries."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def effective(self) -> float:
        """Kish's number of equally large clusters, between 1 and g."""
        return float(self.sizes.sum() ** 2 / (self.sizes**2).sum())

    @property
    def standard_error(self) -> float:
        """Of the mean; infinite with fewer than two clusters."""
        g = self.sums.size
        if g < 2:
            return math.inf
        spread = float(((self.sums - self.sizes * self.mean) ** 2).sum())
        return math.sqrt(spread * g / (g - 1)) / float(self.sizes.sum())


def bootstrap_interval(
    values: npt.ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a mean over queries, clusters resampled.

    The expanded percentile interval of Hesterberg (2015, doi:10.1080/00031305.2015.1089789):
    the plain percentile interval is too narrow for few clusters, because it neglects both
    g - 1 and Student's t; the quantiles are moved outward by just that. BCa corrects skewness
    but keeps the narrowness, and covered less in our simulations of sparse paired differences.
    A single cluster gives (-inf, inf): nothing is known of the variation between clusters.

    Raises:
        InputError: no query, or a value that is not finite.
    """
    data = clustered(values_of(values, "values"), clusters)
    return interval_of(data, level, resamples, seed)


def least_mean(
    values: npt.ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> float:
    """Lower bound of a mean of differences between two metrics, each in [0, 1].

    Gaffke's bound (2005; Learned-Miller and Thomas 2020, arXiv 1905.06208): the (1 - level) / 2
    quantile of the mean under uniformly random weights of the clusters and of one more that loses
    everything, of as many queries as one has on average. For differences that are all or nothing
    it is Clopper and Pearson's exact bound; for many and various ones it comes to
    `bootstrap_interval`.
    A bootstrap alone says of 50 queries without a change that none will ever lose anything.

    Raises:
        InputError: no query, or a value that is not finite.
    """
    return least_of(clustered(values_of(values, "values"), clusters), level, resamples, seed)


def rates_interval(
    values: npt.ArrayLike,
    first: Sequence[bool],
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the mean of one kind of query minus that of the other, clusters resampled.

    Both means are taken anew in every resample, over as many queries of their kind as it holds:
    how many those are is chance too. Otherwise as `bootstrap_interval`; the kind with fewer
    effective clusters sets the width. (-inf, inf) where a kind has fewer than two clusters.

    Args:
        values: (n,) of all queries.
        first: (n,) whether the query is of the first kind.
        clusters: (n,) document groups; a cluster may hold queries of both kinds.
        level: of the interval, in (0, 1).
        seed: equal seeds give equal results.

    Raises:
        InputError: no query, or a value that is not finite.
    """
    x, kind = values_of(values, "values"), np.asarray(first, dtype=np.bool_)
    if kind.shape != x.shape:
        raise InputError(f"{x.size} queries but {kind.size} say of which kind they are")
    parts = []
    for inside in (kind, ~kind):
        sums = clustered(np.where(inside, x, 0.0), clusters).sums
        parts.append(
            Clustered(sums=sums, sizes=clustered(inside.astype(np.float64), clusters).sums)
        )
    if min((part.sizes > 0.0).sum() for part in parts) < 2:
        return _expanded(None, 0.0, level)
    means = _resampled(parts, _resamples(resamples), seed)
    apart = means[:, 0] - means[:, 1]
    fewest = min(part.effective for part in parts)
    return _expanded(apart[np.isfinite(apart)], fewest, level)


@functools.cache
def distributions() -> Any:
    """`scipy.stats`, where it is installed."""
    try:
        from scipy import stats
    except ImportError as exc:
        raise MissingExtraError("the statistics of an evaluation", "eval") from exc
    return stats


def _level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise InputError(f"a level must be in (0, 1), such as 0.95; got {level}")
    return level


def values_of(values: npt.ArrayLike, what: str) -> FloatArray:
    """(n,) finite numbers, at least one."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{what}: one number a query is needed, got shape {array.shape}")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"{what}: value {at} is {array[at]}; metrics must be finite")
    return array


def clustered(values: FloatArray, clusters: Sequence[Hashable] | None) -> Clustered:
    """Summed by cluster; None: every query is its own."""
    if clusters is None:
        return Clustered(sums=values, sizes=np.ones_like(values))
    if len(clusters) != values.size:
        raise InputError(f"{values.size} queries but {len(clusters)} cluster labels")
    codes: dict[Hashable, int] = {}
    index = np.array([codes.setdefault(c, len(codes)) for c in clusters], dtype=np.intp)
    sums = np.bincount(index, weights=values).astype(np.float64)
    return Clustered(sums=sums, sizes=np.bincount(index).astype(np.float64))


def interval_of(data: Clustered, level: float, resamples: int, seed: int) -> tuple[float, float]:
    """See `bootstrap_interval`."""
    drawn = _resampled((data,), _resamples(resamples), seed) if data.sums.size > 1 else None
    return _expanded(drawn, data.effective, level)


def _resamples(wanted: int) -> int:
    if wanted < 100:
        raise InputError(f"an interval needs at least 100 resamples, got {wanted}")
    return wanted


def _resampled(parts: Sequence[Clustered], resamples: int, seed: int) -> FloatArray:
    """(resamples, parts) means, each part's own sums by its own sizes, of the same clusters."""
    g = parts[0].sums.size
    rng = np.random.default_rng([seed, 1])
    means = np.empty((resamples, len(parts)), dtype=np.float64)
    block = max(1, CELLS // g)
    for start in range(0, resamples, block):
        drawn = rng.integers(0, g, size=(min(block, resamples - start), g))
        for i, part in enumerate(parts):
            with np.errstate(invalid="ignore"):  # a resample may hold nothing of one part
                means[start : start + drawn.shape[0], i] = part.sums[drawn].sum(
                    axis=1
                ) / part.sizes[drawn].sum(axis=1)
    return means


def least_of(data: Clustered, level: float, resamples: int, seed: int) -> float:
    """See `least_mean`."""
    tail = (1.0 - _level(level)) / 2.0
    size = float(data.sizes.mean())
    sums, sizes = np.append(data.sums, _WORST * size), np.append(data.sizes, size)
    rng = np.random.default_rng([seed, 3])
    means = np.empty(_resamples(resamples), dtype=np.float64)
    block = max(1, CELLS // sums.size)
    for start in range(0, means.size, block):
        weights = rng.standard_exponential((min(block, means.size - start), sums.size))
        means[start : start + weights.shape[0]] = (weights @ sums) / (weights @ sizes)
    return float(np.quantile(means, tail))


def _expanded(drawn: FloatArray | None, effective: float, level: float) -> tuple[float, float]:
    """Quantiles moved outward; see `bootstrap_interval`. None: nothing could be drawn."""
    tail = (1.0 - _level(level)) / 2.0
    if drawn is None:
        return -math.inf, math.inf
    # Few equal clusters rarely, very unequal ones often: the effective number sets the width.
    free = max(effective, 1.0 + 1e-9)
    outward = math.sqrt(free / (free - 1.0)) * float(distributions().t.isf(tail, free - 1.0))
    outer = float(distributions().norm.sf(outward))
    low, high = np.quantile(drawn, [outer, 1.0 - outer])
    return float(low), float(high)
