"""A logistic over named features, kept as plain numbers so that a policy file can hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import PolicyError

__all__ = ["Feature", "Logistic", "sigmoid"]


def sigmoid(logit: float) -> float:
    """Logistic function, in [0, 1], stable for large magnitudes."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    e = math.exp(logit)
    return e / (1.0 + e)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One term of the sum: `weight * (value - mean) / scale`."""

    name: str
    weight: float
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (self.weight, self.mean, self.scale)):
            raise PolicyError(f"feature {self.name!r}: weight, mean and scale must be finite")
        if self.scale <= 0:
            raise PolicyError(f"feature {self.name!r}: scale must be above 0, got {self.scale}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """`intercept + sum of weighted, standardised features`; its sigmoid is a probability."""

    features: tuple[Feature, ...]
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.intercept):
            raise PolicyError(f"intercept must be finite, got {self.intercept}")
        names = [f.name for f in self.features]
        if len(set(names)) != len(names):
            raise PolicyError(f"a feature is named twice: {sorted(names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The features that must be present."""
        return tuple(f.name for f in self.features)

    def missing(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of features that `values` does not hold (absent or None)."""
        return tuple(n for n in self.names if values.get(n) is None)

    def logit(self, values: Mapping[str, float | None]) -> float | None:
        """The sum for one row, or None where a feature is missing (never imputed)."""
        total = self.intercept
        for f in self.features:
            value = values.get(f.name)
            if value is None:
                return None
            total += f.weight * (value - f.mean) / f.scale
        return total

    def logits(
        self, columns: Mapping[str, npt.NDArray[np.float64]], n: int
    ) -> npt.NDArray[np.float64]:
        """The sums for n rows, from one (n,) column a feature; all must be present."""
        total = np.full(n, self.intercept, dtype=np.float64)
        for f in self.features:
            total += f.weight * (columns[f.name] - f.mean) / f.scale
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a policy file."""
        return {
            "intercept": self.intercept,
            "features": [
                {"name": f.name, "weight": f.weight, "mean": f.mean, "scale": f.scale}
                for f in self.features
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Logistic:
        """The inverse of `to_dict`; the policy's schema has checked the shape."""
        rows: Sequence[Mapping[str, Any]] = data["features"]
        return cls(
            intercept=float(data["intercept"]),
            features=tuple(
                Feature(
                    name=str(row["name"]),
                    weight=float(row["weight"]),
                    mean=float(row.get("mean", 0.0)),
                    scale=float(row.get("scale", 1.0)),
                )
                for row in rows
            ),
        )
