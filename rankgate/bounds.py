"""Exact bounds of a share by Clopper and Pearson: the only ones in the house."""

from __future__ import annotations

from rankgate.errors import InputError

__all__ = ["clopper_pearson", "share_below"]


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
    from scipy.special import betaincinv  # comes with bm25s; heavy, and few commands need it

    return float(betaincinv(successes + 1.0, n - successes, _share(confidence)))


def _share(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise InputError(f"a level must be in (0, 1), such as 0.95; got {level}")
    return level
