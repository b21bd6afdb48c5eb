"""How well scores tell what happened from what did not: the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError


def auroc(scores: npt.ArrayLike, happened: npt.ArrayLike) -> float:
    """Chance that what happened scores above what did not, ties half; in [0, 1].

    Raises:
        InputError: all happened, or nothing did.
    """
    values, yes = np.asarray(scores, dtype=np.float64), np.asarray(happened, dtype=bool)
    if yes.all() or not yes.any():
        raise InputError("a ROC curve needs both: what happened and what did not")
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2.0)[place]
    n = int(yes.sum())
    return float((ranks[yes].sum() - n * (n + 1) / 2.0) / (n * (yes.size - n)))


def auroc_interval(
    scores: npt.ArrayLike,
    happened: npt.ArrayLike,
    clusters: Sequence[Hashable],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval, whole clusters resampled; resamples without both kinds are left out."""
    values, yes = np.asarray(scores, dtype=np.float64), np.asarray(happened, dtype=bool)
    members: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(i)
    blocks = [np.array(rows) for rows in members.values()]
    rng = np.random.default_rng([seed, 2])
    drawn = []
    for _ in range(resamples):
        rows = np.concatenate([blocks[i] for i in rng.integers(0, len(blocks), len(blocks))])
        if 0 < yes[rows].sum() < rows.size:
            drawn.append(auroc(values[rows], yes[rows]))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def youden(scores: npt.ArrayLike, happened: npt.ArrayLike) -> float:
    """The threshold, inclusive, with the largest sum of both shares called right.

    Youden (1950), doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    """
    values, yes = np.asarray(scores, dtype=np.float64), np.asarray(happened, dtype=bool)
    order = np.argsort(-values, kind="stable")
    hits, misses = np.cumsum(yes[order]) / yes.sum(), np.cumsum(~yes[order]) / (~yes).sum()
    last = np.append(values[order][1:] != values[order][:-1], True)
    return float(values[order][np.argmax(np.where(last, hits - misses, -1.0))])
