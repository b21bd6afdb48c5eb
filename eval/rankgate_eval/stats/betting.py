"""Mean of a finite list of which only some values are known: an interval by betting.

Values are drawn one after the other without replacement, each next one with a chance that is
known; guesses of all values (a model's labels) may be at hand, of any quality. Whoever bets
against a wrong mean gets rich; a mean is excluded once the wealth reaches 2 / (1 - level). So the
interval holds at any sample size, however often one looks (Ville 1939), and takes no value's
distribution for granted: Waudby-Smith and Ramdas, arXiv 2010.09686; with unequal chances and side
information Shekhar et al., arXiv 2305.06884; the guesses rectified by what people said are
prediction-powered inference (arXiv 2301.09633), with the weight of the guesses tuned on the labels
before each one (arXiv 2311.01453).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError

FloatArray = npt.NDArray[np.float64]

_MOST_STAKED = 0.95
"""Share of the wealth that a single draw may cost."""
_PRIOR_DRAWS = 2.0
"""So many draws stand for the spread that is supposed before the first: an eighth of the reach."""
_DOUBT = 8.0
"""So many labels speak against any use of the guesses before the first is seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over a finite list.

    Attributes:
        mean: estimated; inside the interval.
        low, high: interval at `level`.
        trust: weight that the guesses had in the end, in [0, 1]; 0 where there were none.
        level: such as 0.95.
    """

    mean: float
    low: float
    high: float
    known: int
    of: int
    trust: float
    level: float


def drawn_mean(
    values: npt.ArrayLike,
    *,
    weights: npt.ArrayLike,
    least: npt.ArrayLike,
    most: npt.ArrayLike,
    guesses: npt.ArrayLike | None = None,
    planned: int = 100,
    level: float = 0.95,
) -> Estimate:
    """Estimate the mean of a list from its first values in the order of drawing.

    Args:
        values: (n,) the values drawn, in that order.
        weights: (N,) above 0, of the whole list in the order of drawing: at each draw, what is
            left is drawn with a chance in proportion.
        least: (N,) what each value is at least.
        most: (N,) and at most. Values that cannot vary much cost little where they are drawn
            rarely, so `weights` should follow the difference.
        guesses: (N,) of the values, made without sight of them, or None.
        planned: draws for which the stakes are chosen; the interval holds at any number.
        level: of the interval, in (0, 1).

    Raises:
        InputError: lengths, weights or values that do not fit.
    """
    x = np.asarray(values, dtype=np.float64)
    w, low, high = (np.asarray(a, dtype=np.float64) for a in (weights, least, most))
    g = np.zeros_like(w) if guesses is None else np.asarray(guesses, dtype=np.float64)
    n, size = x.size, w.size
    if not (w.shape == low.shape == high.shape == g.shape == (size,)) or size == 0:
        raise InputError("weights, bounds and guesses need one number for each of the list")
    if x.ndim != 1 or n > size:
        raise InputError(f"{n} values were drawn from a list of {size}")
    if not (w > 0.0).all() or not np.isfinite(w).all():
        raise InputError("weights must be above 0 and finite")
    if not ((low[:n] - 1e-9 <= x) & (x <= high[:n] + 1e-9)).all():
        at = int(np.flatnonzero((x < low[:n] - 1e-9) | (x > high[:n] + 1e-9))[0])
        raise InputError(f"value {at} is {x[at]}, outside of its bounds {low[at]} and {high[at]}")
    if not 0.0 < level < 1.0:
        raise InputError(f"a level must be in (0, 1), such as 0.95; got {level}")
    g = np.clip(g, low, high)
    done = float(x.sum())
    floor = (done + float(low[n:].sum())) / size
    ceiling = (done + float(high[n:].sum())) / size
    seen, trust = _increments(x, w, g)
    if n == 0 or n == size:
        guess = floor if n == size else float(g.mean())
        return Estimate(
            mean=guess, low=floor, high=ceiling, known=n, of=size, trust=trust[-1], level=level
        )
    before = np.concatenate([[0.0], np.cumsum(x)[:-1]])
    enough = math.log(2.0 / (1.0 - level))
    bottom, top = _reach(w, g, low, high, trust[:n])
    draws = np.maximum(planned, 1 + np.arange(n))
    stakes = np.sqrt(2.0 * enough / (_spread(seen, w, low, high) * draws))
    lower = _bound(seen, before, bottom, stakes, size, floor, ceiling, enough)
    # From above it is the same game with every sign turned.
    upper = -_bound(-seen, -before, -top, stakes, size, -ceiling, -floor, enough)
    mean = _mean(seen, before, size)
    if lower > upper:  # both sides excluded: of chance 1 - level at most
        lower = upper = min(max(mean, upper), lower)
    return Estimate(
        mean=min(max(mean, lower), upper),
        low=lower,
        high=upper,
        known=n,
        of=size,
        trust=trust[-1],
        level=level,
    )


def _increments(x: FloatArray, w: FloatArray, g: FloatArray) -> tuple[FloatArray, list[float]]:
    """(n,) what each draw says the sum of what was left is, and the weight of the guesses.

    The weight before each draw, and after the last.
    """
    left = np.cumsum(w[::-1])[::-1]
    rest = np.cumsum(g[::-1])[::-1]
    n = x.size
    own = x * left[:n] / w[:n]
    # Of mean 0 whatever the truth: the guess of what was drawn, minus what that was to be.
    side = g[:n] * left[:n] / w[:n] - rest[:n]
    scale = float((w / left[0] * (g * left[0] / w - rest[0]) ** 2).sum())
    trust = [0.0]
    for t in range(1, n + 1):
        together = float((side[:t] * (own[:t] - own[:t].mean())).sum())
        alone = float((side[:t] ** 2).sum()) + _DOUBT * scale
        trust.append(min(1.0, max(0.0, together / alone)) if alone > 0.0 else 0.0)
    return own - np.asarray(trust[:n]) * side, trust


def _reach(
    w: FloatArray, g: FloatArray, low: FloatArray, high: FloatArray, trust: list[float]
) -> tuple[FloatArray, FloatArray]:
    """(n,) the least and the most that each draw could have said."""
    left = np.cumsum(w[::-1])[::-1]
    rest = np.cumsum(g[::-1])[::-1]
    found = [
        (
            ((low[t:] - share * g[t:]) * left[t] / w[t:]).min() + share * rest[t],
            ((high[t:] - share * g[t:]) * left[t] / w[t:]).max() + share * rest[t],
        )
        for t, share in enumerate(trust)
    ]
    bottom, top = np.array(found).T
    return bottom, top


def _spread(seen: FloatArray, w: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(n,) variance of what a draw says, as known before it: a prior, then what was seen."""
    prior = float(((high - low) ** 2 / w).sum() * w.sum()) / 64.0
    count = np.arange(seen.size)
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)[:-1]]) for v in (seen, seen**2))
    deviations = squares - sums**2 / np.maximum(count, 1)
    known = np.maximum(_PRIOR_DRAWS * prior + np.maximum(deviations, 0.0), 1e-12)
    spread: FloatArray = known / (_PRIOR_DRAWS + count)
    return spread


def _bound(
    seen: FloatArray,
    before: FloatArray,
    bottom: FloatArray,
    stakes: FloatArray,
    size: int,
    floor: float,
    ceiling: float,
    enough: float,
) -> float:
    """The least mean that is not excluded from below; wealth falls with the mean, so by halving."""

    def excluded(mean: float) -> bool:
        room = size * mean - before - bottom  # what was left to say, above the least
        if (room < 0.0).any():
            return True
        stake = np.minimum(stakes, _MOST_STAKED / np.maximum(room, 1e-12 * size))
        return bool(np.cumsum(np.log1p(stake * (seen - bottom - room))).max() >= enough)

    if not excluded(floor):
        return floor
    out, inside = floor, ceiling
    for _ in range(40):
        middle = (out + inside) / 2.0
        out, inside = (middle, inside) if excluded(middle) else (out, middle)
    return out


def _mean(seen: FloatArray, before: FloatArray, size: int) -> float:
    """Each draw says what the whole sum is; later ones, with more of it known, say it better."""
    share = np.arange(size, size - seen.size, -1, dtype=np.float64) ** -2
    return float(((before + seen) * share).sum() / share.sum() / size)
