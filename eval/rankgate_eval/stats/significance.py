"""Whether a difference is real: paired, by document group, with honest p-values and sample sizes.

The unit of chance is the document group, as in `intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate_eval.stats.intervals import (
    CELLS,
    clustered,
    distributions,
    interval_of,
    least_of,
    values_of,
)

FloatArray = npt.NDArray[np.float64]
_WITHIN_REACH = 100_000  # queries that somebody might judge


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
    a, b = values_of(before, "before"), values_of(after, "after")
    if a.size != b.size:
        raise InputError(f"before has {a.size} queries and after {b.size}; they must be paired")
    differences = b - a
    data = clustered(differences, clusters)
    low, high = interval_of(data, level, resamples, seed)
    return Difference(
        mean=data.mean,
        low=low,
        high=high,
        least=least_of(data, level, resamples, seed),
        p=_sign_flip(data.sums, permutations, seed),
        standard_error=data.standard_error,
        n=int(differences.size),
        clusters=int(data.sums.size),
        level=level,
    )


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
    z = float(distributions().norm.isf(alpha / 2.0) + distributions().norm.isf(1.0 - power))
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
    p = (
        1.0
        if changed == 0
        else 2.0 * float(distributions().binom.cdf(min(lost, won), changed, 0.5))
    )
    return McNemar(only_before=lost, only_after=won, p=min(1.0, p))


def _margin(margin: float) -> float:
    if not margin > 0.0:
        raise InputError(f"a non-inferiority margin must be above 0, got {margin}")
    return margin


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
    block = max(1, CELLS // (8 * width))
    extreme = 0
    for start in range(0, permutations, block):
        size = (min(block, permutations - start), width)
        drawn = rng.integers(0, 256, size=size, dtype=np.uint8)
        bits = np.unpackbits(drawn, axis=1, count=live.size)
        # sum of signs times sums, with the signs 2 * bit - 1
        flipped = 2.0 * (bits.astype(np.float64) @ live) - live.sum()
        extreme += int((np.abs(flipped) >= seen).sum())
    return (1 + extreme) / (1 + permutations)
