"""Sets the floor: the highest threshold that still wrongs few enough answerable queries.

The bound is exact. With the threshold at the (r + 1)-th smallest probability of n independent
queries, the share that it refuses is at most a with probability P(Bin(n, a) > r), whatever the
distribution (Wilks 1941, doi:10.1214/aoms/1177731788): the one-sided bound of Clopper and
Pearson on r of n. Queries about one document may be refused together, and where few or none are
refused nothing shows whether they are. So n counts documents: it is divided by the design effect
of refusals that always come together, which leaves Kish's number of equally large documents, or
by that of the refusals seen, where it is larger because they fall on the larger documents (Kish,
Survey Sampling, 1965; Korn and Graubard, Survey Methodology 24, 1998).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.bounds import share_below
from rankgate.decide.floor import Floor
from rankgate.errors import InputError
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import Placed, Placings

FloatArray = npt.NDArray[np.float64]
_DROP_PAYS = 0.1  # share of the irrelevant kept passages that drop_below must take away
_LAXEST = 0.2  # false refusals beyond which a floor is not offered


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A threshold, and what is known of the wrongs it does.

    Attributes:
        value: inclusive; what is below it is refused or dropped.
        wrongs: how many of the n it wrongs.
        upper: one-sided upper bound of the share wronged, at the confidence asked for.
        design_effect: by which n was divided, at least 1.
    """

    value: float
    wrongs: int
    n: int
    upper: float
    design_effect: float

    @property
    def effective(self) -> float:
        """How many independent queries the n count as."""
        return self.n / self.design_effect


def needed_for(share: float, *, confidence: float) -> int:
    """Independent queries without which no threshold can be shown to wrong at most `share`."""
    return math.ceil(math.log(1.0 - confidence) / math.log(1.0 - share))


def independent(groups: Sequence[Hashable]) -> float:
    """As how many independent queries they count, the groups having these sizes: Kish's number.

    Between 1 and the number of groups, which it is where all are equally large; 0 for none.
    """
    sizes = np.array(list(Counter(groups).values()), dtype=np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if sizes.size else 0.0


def most_wrongs(n: int, *, share: float, confidence: float) -> int | None:
    """How many of n independent queries may be wronged for the bound to hold; None: not even 0.

    It is fewer than `share` of them: what is not known of so few is taken for the worst.
    """
    found = None
    for wrongs in range(int(share * n) + 1):
        if share_below(wrongs, n, confidence=confidence) > share:
            break
        found = wrongs
    return found


def needed_to_wrong(rate: float, *, share: float, confidence: float) -> int:
    """Independent queries with which as many as `rate` of them may be wronged, below `share`.

    Raises:
        InputError: `rate` is not in [0, share): no number of queries would do.
    """
    if not 0.0 <= rate < share:
        raise InputError(f"rate must be at least 0 and below share ({share}), got {rate}")

    def holds(n: int) -> bool:
        return share_below(rate * n, n, confidence=confidence) <= share

    low, high = 0, 1
    while not holds(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def fit_threshold(
    probabilities: FloatArray,
    groups: Sequence[Hashable],
    *,
    share: float,
    confidence: float,
    wronged: Callable[[float], npt.NDArray[np.bool_]] | None = None,
) -> Threshold | None:
    """The highest threshold whose wrongs stay within `share`, at `confidence`.

    Args:
        probabilities: (n,) of answerable queries, by models that have not seen them; the
            candidates for the threshold.
        groups: (n,) their document groups.
        share: of the queries that may be wronged, in (0, 1).
        confidence: of the bound, in (0, 1).
        wronged: which queries a threshold wrongs; None: those below it.

    Returns:
        The threshold; None where there are too few groups for any.

    Raises:
        InputError: `share` or `confidence` out of range.
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"the share of false refusals is in (0, 1), got {share}")
    n = probabilities.size
    if n == 0:
        return None
    together = n / independent(groups)
    best: Threshold | None = None
    for value in np.unique(probabilities):
        lost = probabilities < value if wronged is None else wronged(float(value))
        wrongs = int(lost.sum())
        if wrongs > share * n:  # no bound lies below what was seen
            break
        effect = max(together, _design_effect(lost, groups))
        upper = share_below(wrongs / effect, n / effect, confidence=confidence)
        if upper > share:
            break
        best = Threshold(value=float(value), wrongs=wrongs, n=n, upper=upper, design_effect=effect)
    return best


def _design_effect(lost: npt.NDArray[np.bool_], groups: Sequence[Hashable]) -> float:
    """Variance of the share over whole groups as seen, by that of independent queries."""
    n = lost.size
    rate = float(lost.mean()) if n else 0.0
    codes: dict[Hashable, int] = {}
    index = np.array([codes.setdefault(g, len(codes)) for g in groups], dtype=np.intp)
    g = len(codes)
    if g < 2 or not 0.0 < rate < 1.0:
        return 1.0
    off = np.bincount(index, weights=lost - rate)
    clustered = float((off**2).sum()) * g / (g - 1)
    alone = n * rate * (1.0 - rate) * n / (n - 1)
    return max(1.0, clustered / alone)


def fit_floor(
    rows: Sequence[Row],
    served: Placings,
    degraded: Placings | None,
    options: FitOptions,
) -> tuple[Floor, Threshold | None, str]:
    """The threshold that holds for what is served, and where every query degrades."""
    found = [i for i, row in enumerate(rows) if row.answerable and row.found]
    groups = [rows[i].group for i in found]
    bounds = []
    for placings in (served, degraded):
        if placings is None:
            continue
        values = np.mean([[_probability(p[i]) for i in found] for p in placings], axis=0)
        bound = fit_threshold(
            values, groups, share=options.false_refusals, confidence=options.confidence
        )
        if bound is None:
            return Floor(), None, _too_few(groups, options)
        bounds.append(bound)
    lowest = min(bounds, key=lambda b: b.value)
    drop = _fit_drop(rows, served, lowest.value, options)
    note = f"fitted on {len(found)} answerable queries with a relevant candidate"
    return Floor(refuse_below=lowest.value, drop_below=drop), lowest, note


def _too_few(groups: Sequence[str], options: FitOptions) -> str:
    """Why no floor can be shown to keep its promise, and what could be shown instead."""
    counted = independent(groups)
    least = needed_for(options.false_refusals, confidence=options.confidence)
    told = (
        f"{len(groups)} answerable queries with a relevant candidate, on {len(set(groups))} "
        f"documents, count as {counted:.0f} independent ones, which cannot show that at most "
        f"{options.false_refusals:.1%} are refused at {options.confidence:.0%} confidence; at "
        f"least {least} are needed"
    )
    if not counted:
        return told
    shown = math.ceil(1000.0 * (1.0 - (1.0 - options.confidence) ** (1.0 / counted))) / 1000.0
    if shown > _LAXEST:
        return told
    return f"{told}. What these can show is {shown:.1%} (--false-refusals {shown:g})"


def _probability(placed: Placed) -> float:
    # Without a probability nothing is refused.
    return 1.0 if placed.best is None else placed.best


def _fit_drop(
    rows: Sequence[Row], served: Placings, at_most: float, options: FitOptions
) -> float | None:
    """A threshold for single passages, where it takes away enough that is irrelevant.

    It never lies above `refuse_below`: then it would refuse whole queries by another name.
    """
    weakest, groups, weak = [], [], []
    for row, *placed in zip(rows, *served, strict=True):
        if not row.answerable or not placed[0].probabilities.size:
            continue
        tops = [p.order[: min(options.top_n, p.probabilities.size)] for p in placed]
        hits = [
            p.probabilities[: top.size][row.relevant[top]]
            for p, top in zip(placed, tops, strict=True)
        ]
        if row.found:
            weakest.append(float(np.mean([h.min() if h.size else 1.0 for h in hits])))
            groups.append(row.group)
        weak += [
            p.probabilities[: top.size][~row.relevant[top]]
            for p, top in zip(placed, tops, strict=True)
        ]
    if not weakest:
        return None
    bound = fit_threshold(
        np.array(weakest), groups, share=options.false_refusals, confidence=options.confidence
    )
    if bound is None:
        return None
    value = min(bound.value, at_most)
    irrelevant = np.concatenate(weak)
    return value if irrelevant.size and (irrelevant < value).mean() >= _DROP_PAYS else None
