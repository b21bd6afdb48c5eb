"""Whether a difference is real: paired, by document group, with honest p-values and sample sizes.

Queries about one document succeed and fail together, so the unit of chance is the cluster (the
document group), not the query. The estimand stays the mean over queries.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError, MissingExtraError

FloatArray = npt.NDArray[np.float64]
_WITHIN_REACH = 100_000  # queries that somebody might judge
_WORST = -1.0  # difference of two metrics in [0, 1]
_CELLS = 4_000_000  # of one block of resamples: bounds memory, whatever the number of queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A mean paired difference, after minus before, with what is known of its chance.

    Attributes:
        low, high: interval of the mean at `level`.
        least: lower bound of the mean that also counts losses too rare to have been seen, at the
            same error as `low`; see `least_mean`.
        p: two-sided, of the sign-flip test; in (0, 1].
        standard_error: of the mean, robust to clusters.
        level: of the interval, such as 0.95.
    """

    mean: float
    low: float
    high: float
    least: float
    p: float
    standard_error: float
    n: int
    clusters: int
    level: float

    def better(self, alpha: float = 0.05) -> bool:
        """Whether it is above zero by interval and test alike."""
        return self.low > 0.0 and self.p <= alpha

    def worse(self, alpha: float = 0.05) -> bool:
        """Whether it is below zero by interval and test alike."""
        return self.high < 0.0 and self.p <= alpha

    def not_worse_than(self, margin: float) -> bool:
        """Non-inferiority: whether a loss of `margin` or more is excluded, by `least`.

        Raises:
            InputError: `margin` is not above 0.
        """
        return self.least > -_margin(margin)

    def worse_than(self, margin: float) -> bool:
        """Whether a loss smaller than `margin` is excluded by the interval."""
        return self.high < -_margin(margin)

    def needed(self, *, against: float = 0.0, power: float = 0.8) -> int | None:
        """Queries needed to tell an effect as large as the one seen from `against`.

        None where the effect seen equals it: no number of queries would do.
        """
        return queries_needed(
            effect=self.mean - against,
            standard_error=self.standard_error,
            n=self.n,
            alpha=1.0 - self.level,
            power=power,
        )

    def needed_for_margin(self, margin: float, *, power: float = 0.8) -> int | None:
        """Queries needed to exclude a loss of `margin`, or show it, were the effect that seen.

        At least as many as exclude it where no query differs from the mean: that many, and one
        that loses everything could still be as frequent as the margin allows. None where the
        effect is the margin.
        """
        spare = (self.mean + _margin(margin)) / (1.0 + self.mean) if self.mean > -1.0 else 0.0
        told = self.needed(against=-margin, power=power)
        if told is None or not 0.0 < spare < 1.0:
            return told
        unseen = math.log((1.0 - self.level) / 2.0) / math.log1p(-spare)
        needed = max(told, math.ceil(unseen * self.n / self.clusters))
        return None if needed > _WITHIN_REACH else needed


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Paired yes/no outcomes of two arms, such as refusals.

    Attributes:
        only_before: pairs that were yes before and no after.
        only_after: pairs that were no before and yes after.
        p: exact, two-sided, in (0, 1]; 1 where no pair changed.
    """

    only_before: int
    only_after: int
    p: float


@dataclass(frozen=True, slots=True)
class _Clustered:
    """Differences summed by cluster: (g,) sums and (g,) sizes."""

    sums: FloatArray
    sizes: FloatArray

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def effective(self) -> float:
        """Kish's number of equally large clusters, between 1 and g."""
        return float(self.sizes.sum() ** 2 / (self.sizes**2).sum())

    @property
    def standard_error(self) -> float:
        g = self.sums.size
        if g < 2:
            return math.inf
        spread = float(((self.sums - self.sizes * self.mean) ** 2).sum())
        return math.sqrt(spread * g / (g - 1)) / float(self.sizes.sum())


def compare(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
) -> Difference:
    """Compare two arms on the same queries: mean difference, interval, p-value.

    Args:
        before: (n,) metric of each query.
        after: (n,) the same queries in the same order.
        clusters: (n,) document group of each query; None: every query is its own.
        level: of the interval, in (0, 1).
        permutations: of the sign-flip test; the smallest p is 1 / (permutations + 1).
        seed: equal seeds give equal results.

    Raises:
        InputError: different lengths, no query, or a value that is not finite.
    """
    a, b = _values(before, "before"), _values(after, "after")
    if a.size != b.size:
        raise InputError(f"before has {a.size} queries and after {b.size}; they must be paired")
    differences = b - a
    data = _clustered(differences, clusters)
    low, high = _interval(data, level, resamples, seed)
    return Difference(
        mean=data.mean,
        low=low,
        high=high,
        least=_least(data, level, resamples, seed),
        p=_sign_flip(data.sums, permutations, seed),
        standard_error=data.standard_error,
        n=int(differences.size),
        clusters=int(data.sums.size),
        level=level,
    )


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
    data = _clustered(_values(values, "values"), clusters)
    return _interval(data, level, resamples, seed)


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
    return _least(_clustered(_values(values, "values"), clusters), level, resamples, seed)


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
    x, kind = _values(values, "values"), np.asarray(first, dtype=np.bool_)
    if kind.shape != x.shape:
        raise InputError(f"{x.size} queries but {kind.size} say of which kind they are")
    parts = []
    for inside in (kind, ~kind):
        sums = _clustered(np.where(inside, x, 0.0), clusters).sums
        parts.append(
            _Clustered(sums=sums, sizes=_clustered(inside.astype(np.float64), clusters).sums)
        )
    if min((part.sizes > 0.0).sum() for part in parts) < 2:
        return _expanded(None, 0.0, level)
    means = _resampled(parts, _resamples(resamples), seed)
    apart = means[:, 0] - means[:, 1]
    fewest = min(part.effective for part in parts)
    return _expanded(apart[np.isfinite(apart)], fewest, level)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values (Scand. J. Statist. 6, 1979): at most 1, in the order given.

    Rejecting where the adjusted p is at most alpha keeps the chance of any false rejection at
    alpha, however the tests depend on one another.

    Raises:
        InputError: a p-value outside [0, 1].
    """
    for name, p in p_values.items():
        if not 0.0 <= p <= 1.0:
            raise InputError(f"p of {name!r} must be in [0, 1], got {p}")
    adjusted: dict[str, float] = {}
    running = 0.0
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(p_values) - i) * p))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def queries_needed(
    *, effect: float, standard_error: float, n: int, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Queries, clustered as those seen, for a two-sided test of `effect` with `power`.

    Normal approximation: the standard error shrinks with the root of n, and must be
    |effect| / (z_alpha/2 + z_power). None where the effect is 0 or the error not known, and
    where nobody has so many: that the effect is next to nothing says more than their number.
    """
    if not (0.0 < alpha < 1.0 and 0.0 < power < 1.0):
        raise InputError(f"alpha and power must be in (0, 1), got {alpha} and {power}")
    if effect == 0.0 or not math.isfinite(standard_error):
        return None
    z = float(_stats().norm.isf(alpha / 2.0) + _stats().norm.isf(1.0 - power))
    spread = z * standard_error / effect
    needed = n * spread * spread  # not `**`, which overflows where this is infinite
    return None if needed > _WITHIN_REACH else max(2, math.ceil(needed))


def needed_for_all(needs: Sequence[int | None]) -> int | None:
    """Queries that do for each of several questions; None where one is out of reach, or none."""
    known = [n for n in needs if n is not None]
    return max(known, default=None) if len(known) == len(needs) else None


def mcnemar_exact(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    """McNemar's exact test: whether two arms say yes to the same queries equally often.

    The pairs are taken as independent.

    Raises:
        InputError: different lengths.
    """
    if len(before) != len(after):
        raise InputError(f"before has {len(before)} queries and after {len(after)}")
    pairs = list(zip(before, after, strict=True))
    lost = sum(bool(a) and not b for a, b in pairs)
    won = sum(bool(b) and not a for a, b in pairs)
    changed = lost + won
    p = 1.0 if changed == 0 else 2.0 * float(_stats().binom.cdf(min(lost, won), changed, 0.5))
    return McNemar(only_before=lost, only_after=won, p=min(1.0, p))


@functools.cache
def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as exc:
        raise MissingExtraError("the statistics of an evaluation", "eval") from exc
    return stats


def _margin(margin: float) -> float:
    if not margin > 0.0:
        raise InputError(f"a non-inferiority margin must be above 0, got {margin}")
    return margin


def _level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise InputError(f"a level must be in (0, 1), such as 0.95; got {level}")
    return level


def _values(values: npt.ArrayLike, what: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{what}: one number a query is needed, got shape {array.shape}")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"{what}: value {at} is {array[at]}; metrics must be finite")
    return array


def _clustered(values: FloatArray, clusters: Sequence[Hashable] | None) -> _Clustered:
    if clusters is None:
        return _Clustered(sums=values, sizes=np.ones_like(values))
    if len(clusters) != values.size:
        raise InputError(f"{values.size} queries but {len(clusters)} cluster labels")
    codes: dict[Hashable, int] = {}
    index = np.array([codes.setdefault(c, len(codes)) for c in clusters], dtype=np.intp)
    sums = np.bincount(index, weights=values).astype(np.float64)
    return _Clustered(sums=sums, sizes=np.bincount(index).astype(np.float64))


def _interval(data: _Clustered, level: float, resamples: int, seed: int) -> tuple[float, float]:
    drawn = _resampled((data,), _resamples(resamples), seed) if data.sums.size > 1 else None
    return _expanded(drawn, data.effective, level)


def _resamples(wanted: int) -> int:
    if wanted < 100:
        raise InputError(f"an interval needs at least 100 resamples, got {wanted}")
    return wanted


def _resampled(parts: Sequence[_Clustered], resamples: int, seed: int) -> FloatArray:
    """(resamples, parts) means, each part's own sums by its own sizes, of the same clusters."""
    g = parts[0].sums.size
    rng = np.random.default_rng([seed, 1])
    means = np.empty((resamples, len(parts)), dtype=np.float64)
    block = max(1, _CELLS // g)
    for start in range(0, resamples, block):
        drawn = rng.integers(0, g, size=(min(block, resamples - start), g))
        for i, part in enumerate(parts):
            with np.errstate(invalid="ignore"):  # a resample may hold nothing of one part
                means[start : start + drawn.shape[0], i] = part.sums[drawn].sum(
                    axis=1
                ) / part.sizes[drawn].sum(axis=1)
    return means


def _least(data: _Clustered, level: float, resamples: int, seed: int) -> float:
    """See `least_mean`."""
    tail = (1.0 - _level(level)) / 2.0
    size = float(data.sizes.mean())
    sums, sizes = np.append(data.sums, _WORST * size), np.append(data.sizes, size)
    rng = np.random.default_rng([seed, 3])
    means = np.empty(_resamples(resamples), dtype=np.float64)
    block = max(1, _CELLS // sums.size)
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
    outward = math.sqrt(free / (free - 1.0)) * float(_stats().t.isf(tail, free - 1.0))
    outer = float(_stats().norm.sf(outward))
    low, high = np.quantile(drawn, [outer, 1.0 - outer])
    return float(low), float(high)


def _sign_flip(sums: FloatArray, permutations: int, seed: int) -> float:
    if permutations < 1:
        raise InputError(f"a permutation test needs at least 1 permutation, got {permutations}")
    # Clusters without a difference keep their zero under every flip.
    live = sums[sums != 0.0]
    if live.size == 0:
        return 1.0
    # Sums that are equal on paper differ in the last bits: count them as at least as extreme.
    seen = abs(float(live.sum())) - 1e-9 * float(np.abs(live).sum())
    rng = np.random.default_rng([seed, 2])
    width = -(-live.size // 8)
    block = max(1, _CELLS // (8 * width))
    extreme = 0
    for start in range(0, permutations, block):
        size = (min(block, permutations - start), width)
        drawn = rng.integers(0, 256, size=size, dtype=np.uint8)
        bits = np.unpackbits(drawn, axis=1, count=live.size)
        # sum of signs times sums, with the signs 2 * bit - 1
        flipped = 2.0 * (bits.astype(np.float64) @ live) - live.sum()
        extreme += int((np.abs(flipped) >= seen).sum())
    return (1 + extreme) / (1 + permutations)
