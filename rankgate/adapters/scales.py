"""Scales: what the scores of stores can mean, and which of them gives cosines that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["SCALES", "TOLERANCE", "Scale", "best_first", "scales_that_fit", "told_apart"]

FloatArray = npt.NDArray[np.float64]
Geometry = Literal["cosine", "l2", "ip"]

TOLERANCE = 0.01
"""Stores that keep vectors in 16 or 8 bits are off by less; scales differ by more."""

# Scores at which any two scales give different cosines.
_APART = np.array([0.2, 0.9])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One meaning that a store's scores can have.

    Attributes:
        higher: whether higher is better.
        space: what `inverse` gives: `cosine`, `ip` (inner product) or `l2` (squared distance).
        inverse: from scores to that, array by array.
    """

    name: str
    higher: bool
    space: Geometry
    inverse: Callable[[FloatArray], FloatArray]

    def __str__(self) -> str:
        return f"{self.name} ({'higher' if self.higher else 'lower'} is better)"

    def cosines(
        self, scores: FloatArray, *, query_norm: float = 1.0, norms: FloatArray | float = 1.0
    ) -> FloatArray:
        """(n,) cosines of (n,) scores; the lengths of the vectors matter to `ip` and `l2` only."""
        with np.errstate(all="ignore"):  # what is no number fits nothing
            value = self.inverse(scores)
            if self.space == "cosine":
                return value
            product = value
            if self.space == "l2":
                product = (query_norm**2 + np.square(norms) - value) / 2.0
            return np.asarray(product / (query_norm * norms), dtype=np.float64)


def _of(name: str, higher: bool, space: Geometry, inverse: Callable[[Any], Any]) -> Scale:
    return Scale(name=name, higher=higher, space=space, inverse=inverse)


# The plain ones first: of those that say the same, the first is named.
SCALES: dict[str, Scale] = {
    scale.name: scale
    for scale in (
        _of("cosine similarity", True, "cosine", lambda s: s),
        _of("cosine distance", False, "cosine", lambda s: 1.0 - s),
        _of("squared L2 distance", False, "l2", lambda s: s),
        _of("inner product", True, "ip", lambda s: s),
        _of("inner product distance", False, "ip", lambda s: 1.0 - s),
        _of("negative inner product", False, "ip", lambda s: -s),
        _of("L2 distance", False, "l2", np.square),
        # Relevances in [0, 1]: LangChain's (1 - d / sqrt 2, of either distance), Qdrant's and
        # Elasticsearch's (1 + c) / 2, LlamaIndex's exp(-d), OpenSearch's 1 / (1 + d).
        _of("relevance of squared L2", True, "l2", lambda s: (1.0 - s) * math.sqrt(2.0)),
        _of("relevance of L2", True, "l2", lambda s: 2.0 * np.square(1.0 - s)),
        _of("halved cosine", True, "cosine", lambda s: 2.0 * s - 1.0),
        _of("exp(-cosine distance)", True, "cosine", lambda s: 1.0 + np.log(s)),
        _of("exp(-squared L2)", True, "l2", lambda s: -np.log(s)),
        _of("exp(-inner product distance)", True, "ip", lambda s: 1.0 + np.log(s)),
        _of("1 / (1 + cosine distance)", True, "cosine", lambda s: 2.0 - 1.0 / s),
        _of("1 / (1 + squared L2)", True, "l2", lambda s: 1.0 / s - 1.0),
        _of("1 / (1 + L2)", True, "l2", lambda s: np.square(1.0 / s - 1.0)),
    )
}
"""Every meaning that is known, by name."""


def best_first(scores: Sequence[float]) -> bool | None:
    """Whether higher is better, from scores in a store's own order; None: they do not tell."""
    steps = np.diff(np.asarray(scores, dtype=np.float64))
    falls, rises = bool((steps < 0).any()), bool((steps > 0).any())
    return None if falls == rises else falls


def scales_that_fit(
    scores: FloatArray,
    cosines: FloatArray,
    *,
    higher: bool | None,
    query_norm: float = 1.0,
    norms: FloatArray | float = 1.0,
) -> dict[str, float]:
    """The scales that give these cosines: name to largest error, the closest first.

    Args:
        scores: (n,) as the store gave them.
        cosines: (n,) of the same passages, computed from vectors.
        higher: whether higher is better; None: not known.
        query_norm: length of the query's vector.
        norms: (n,) lengths of the passages' vectors.
    """
    errors: dict[str, float] = {}
    for scale in SCALES.values():
        if higher is None or scale.higher is higher:
            given = scale.cosines(scores, query_norm=query_norm, norms=norms)
            error = float(np.max(np.abs(given - cosines)))
            if error <= TOLERANCE:  # NaN fails too
                errors[scale.name] = round(error, 4)  # of equally good ones the plain one
    return dict(sorted(errors.items(), key=lambda item: item[1]))


def told_apart(fits: dict[str, float]) -> bool:
    """Whether the best of the fitting scales is the only one, but for those that say the same."""
    best, *others = (SCALES[name] for name in fits)
    limit = max(4.0 * fits[best.name], 0.003)
    rivals = [s for s in others if fits[s.name] < limit]
    return all(np.allclose(s.cosines(_APART), best.cosines(_APART)) for s in rivals)
