"""Bounds of a share: the only ones in the house.

Exact ones by Clopper and Pearson, for a number of cases that was settled before; and ones that
hold however often one looks, for traffic that is watched as it comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from rankgate.errors import InputError

__all__ = ["anytime_interval", "clopper_pearson", "log_evidence", "share_below"]


def clopper_pearson(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Exact two-sided binomial interval (Biometrika 26, 1934); (0, 1) where n is 0.

    Fractions are effective sizes: cases that come in groups count as fewer.

    Raises:
        InputError: `successes` is not between 0 and n, or `level` not in (0, 1).
    """
    confidence = 0.5 + _share(level) / 2.0
    return 1.0 - share_below(n - successes, n, confidence=confidence), share_below(
        successes, n, confidence=confidence
    )


def share_below(successes: float, n: float, *, confidence: float = 0.95) -> float:
    """The one-sided upper bound: the share is below it with this confidence; 1 where n is 0.

    Raises:
        InputError: `successes` is not between 0 and n, or `confidence` not in (0, 1).
    """
    if not 0 <= successes <= n:
        raise InputError(f"successes must be between 0 and n = {n}, got {successes}")
    if successes == n:
        return 1.0
    from scipy.special import (
        betaincinv,  # of the extras app and eval; heavy, and few commands need it
    )

    return float(betaincinv(successes + 1.0, n - successes, _share(confidence)))


def log_evidence(successes: int, n: int, low: float, high: float) -> float:
    """Log evidence that the share of a Bernoulli stream lies outside [low, high].

    The mixture of all shares by Jeffreys' prior against the best one inside. While the share is
    inside, it ever passes log(1 / a) with probability at most a, whenever and however often one
    looks (Ville 1939; Robbins, Ann. Math. Statist. 41, 1970, doi:10.1214/aoms/1177696786).

    Args:
        successes: so far.
        low: in [0, 1].
        high: in [low, 1].

    Raises:
        InputError: out of range.
    """
    if not 0 <= successes <= n:
        raise InputError(f"successes must be between 0 and n = {n}, got {successes}")
    if not 0.0 <= low <= high <= 1.0:
        raise InputError(f"a range of shares is within [0, 1], got [{low}, {high}]")
    failures = n - successes
    mixture = (
        math.lgamma(successes + 0.5) + math.lgamma(failures + 0.5) - math.lgamma(n + 1.0)
    ) - math.log(math.pi)
    inside = min(max(successes / n if n else low, low), high)
    possible = _times_log(successes, inside) + _times_log(failures, 1.0 - inside)
    return mixture - possible


def anytime_interval(successes: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share that holds at all times together; (0, 1) where n is 0.

    The shares against which `log_evidence` is not enough: wider than `clopper_pearson`, which is
    for one look at a number of cases that was settled before.

    Raises:
        InputError: `successes` is not between 0 and n, or `level` not in (0, 1).
    """
    enough = -math.log(1.0 - _share(level))

    def excluded(share: float) -> bool:
        return log_evidence(successes, n, share, share) >= enough

    if n == 0:
        return 0.0, 1.0
    seen = successes / n
    return _edge(0.0, seen, excluded), _edge(1.0, seen, excluded)


def _edge(out: float, inside: float, excluded: Callable[[float], bool]) -> float:
    """Where between the two the first excluded share lies; `out` itself where it is not one."""
    if not excluded(out):
        return out
    for _ in range(50):
        middle = (out + inside) / 2.0
        out, inside = (middle, inside) if excluded(middle) else (out, middle)
    return out


def _times_log(count: int, share: float) -> float:
    if count == 0:
        return 0.0
    return -math.inf if share <= 0.0 else count * math.log(share)


def _share(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise InputError(f"a level must be in (0, 1), such as 0.95; got {level}")
    return level
