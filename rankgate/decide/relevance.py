"""The relevance model: one logit orders, and its probability is what the floor reads.

A logistic over named features of one passage and the query, never of its competitors. With the
single feature `raw` it is Platt scaling (Platt 1999). Because the same number orders and floors, a
passage can never be dropped while a worse-ranked one stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.decide.logistic import Logistic
from rankgate.decide.signals import Signals
from rankgate.errors import PolicyError
from rankgate.retrieve.lexical import coverage
from rankgate.types import Candidate

__all__ = ["FEATURE_NAMES", "RelevanceModel", "relevance_features"]

FloatArray = npt.NDArray[np.float64]

FEATURE_NAMES = frozenset(("raw", "dense", "bm25_log", "bm25_per_word", "coverage"))


def relevance_features(candidates: Sequence[Candidate], signals: Signals) -> dict[str, FloatArray]:
    """Columns of (n,) features for the candidates of one query, before a scorer's `raw`.

    Unknown ones are absent.

    Each is a passage's own: no other passage of the list, and no place in it, moves it. What
    stands out of a bad list would else look relevant, and the best of a short one irrelevant.

    `dense` is the cosine, `bm25_log` log(1 + BM25), `bm25_per_word` BM25 by the query's number of
    words, since BM25 is a sum over them; `coverage` the share of the query's words that stand in
    the passage, where the signals name those words.
    """
    columns: dict[str, FloatArray] = {}
    if candidates and all(c.dense is not None for c in candidates):
        columns["dense"] = np.array([c.dense for c in candidates], dtype=np.float64)
    if candidates and all(c.bm25 is not None for c in candidates):
        b = np.maximum(np.array([c.bm25 for c in candidates], dtype=np.float64), 0.0)
        columns["bm25_log"] = np.log1p(b)
        columns["bm25_per_word"] = b / max(1, signals.query_words)
    if candidates and signals.terms is not None:
        columns["coverage"] = coverage(signals.terms, [c.text for c in candidates])
    return columns


@dataclass(frozen=True, slots=True, kw_only=True)
class RelevanceModel:
    """A fitted logistic, and the scale of the raw scores it was fitted on.

    Attributes:
        model: the logistic over `FEATURE_NAMES`.
        scale: `Scores.scale` of its raw features; None where it reads first-stage features
            alone, as the model for skipped and degraded results does.
        provenance: data, split, n and fit quality, as the calibration recorded them.
    """

    model: Logistic
    scale: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [n for n in self.model.names if n not in FEATURE_NAMES]
        if unknown:
            raise PolicyError(
                f"unknown relevance feature {unknown[0]!r}; known: "
                f"{', '.join(sorted(FEATURE_NAMES))}. Features of the whole list are gone, since a "
                "passage's probability may not depend on its company; fit such a policy again: "
                "rankgate calibrate DATA --out policy.json"
            )
        reads_raw = "raw" in self.model.names
        if reads_raw and self.scale is None:
            raise PolicyError("a relevance model that reads raw scores must name their scale")

    @property
    def orders(self) -> bool:
        """Whether its logit orders a list that no scorer read.

        Not where it knows the passages' words alone: the first stage that found them knew those
        and more, so its order stays, and the probability is for the floor.
        """
        return not set(self.model.names) <= {"coverage"}

    def missing(self, columns: Mapping[str, FloatArray]) -> tuple[str, ...]:
        """Features that the model needs and `columns` lacks."""
        return self.model.missing(columns)

    def logits(self, columns: Mapping[str, FloatArray], n: int) -> FloatArray:
        """(n,) logits; the caller has checked that nothing is missing."""
        return self.model.logits(columns, n)
