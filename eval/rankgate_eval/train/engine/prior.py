"""What the first stage knows already, as a part of each list: so that it is not learned again.

A policy orders by a scorer *and* by dense and BM25. A scorer that is trained alone learns mostly
what those two say anyway; with their part of the order added to its scores in the loss, what is
left to learn is where they are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.relevance import relevance_features
from rankgate_eval.train.engine.mining import Mined
from rankgate_eval.train.engine.refit import JudgedList, fit_order

__all__ = ["FirstStagePrior"]

_LEAST_SLOPE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStagePrior:
    """The policy's order without the scorer's part of it.

    Attributes:
        weights: of the first stage's features, by name.
        slope: what a unit of the scorer's own score weighs beside them, at least 0.1.
    """

    weights: Mapping[str, float]
    slope: float

    @classmethod
    def fitted(
        cls, judged: Sequence[JudgedList], raw: Sequence[npt.NDArray[np.float32]]
    ) -> FirstStagePrior:
        """From an order that is fitted together with a scorer's values.

        Args:
            judged: training questions that no list is made of.
            raw: the scorer's values of each.

        Raises:
            InputError: no question with a relevant candidate.
        """
        weights = dict(fit_order(judged, raw).weights)
        gap, z = weights.pop("raw_gap", 0.0), weights.pop("raw_z", 0.0)
        deviations = [max(float(np.std(values)), 1e-3) for values in raw if len(values)]
        slope = gap + z * float(np.mean([1.0 / d for d in deviations]))
        return cls(weights=weights, slope=max(slope, _LEAST_SLOPE))

    def logits(self, mined: Mined, ids: Sequence[str]) -> tuple[float, ...]:
        """One value a passage; what the first stage did not find gets the least of what it did."""
        columns = relevance_features(mined.candidates, mined.signals)
        total = np.zeros(len(mined.candidates))
        for name, weight in self.weights.items():
            total += weight * columns[name]
        known = {c.id: float(v) for c, v in zip(mined.candidates, total, strict=True)}
        least = min(known.values(), default=0.0)
        return tuple(known.get(i, least) for i in ids)
