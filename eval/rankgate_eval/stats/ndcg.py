"""nDCG, once: for fits, measurements, training and benchmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_DISCOUNTS = 1.0 / np.log2(np.arange(2, 1002))


def ndcg(gains: npt.ArrayLike, ideal: npt.ArrayLike | int, *, top: int = 10) -> float:
    """Normalised discounted cumulative gain in [0, 1], as trec_eval computes it.

    A passage at rank r counts its gain / log2(r + 1) (Jaervelin and Kekaelaeinen 2002,
    doi:10.1145/582415.582418); 0 where nothing is relevant.

    Args:
        gains: (n,) of the passages in the order to judge, 0 for an irrelevant one.
        ideal: (m,) gains of all relevant passages, found or not, in any order; a number means
            so many with a gain of 1.
        top: ranks that count, at most 1000.
    """
    best = np.ones(min(ideal, top)) if isinstance(ideal, int | np.integer) else _sorted(ideal)[:top]
    if not best.any():
        return 0.0
    found = np.asarray(gains, dtype=np.float64)[:top]
    return float(found @ _DISCOUNTS[: found.size]) / float(best @ _DISCOUNTS[: best.size])


def _sorted(gains: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return -np.sort(-np.asarray(gains, dtype=np.float64))
