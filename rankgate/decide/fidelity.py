"""Fidelity: whether skipping the second stage changes what it would have handed over.

No label says who is right. Calibration without labels, the application's skip audit and a test of
either ask this one function.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

__all__ = ["WEIGHTY", "Handed", "skipping_changes", "weighty_missed"]

WEIGHTY = 0.5
"""Share of the best passage's probability from which another carries weight too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What one path hands over.

    Attributes:
        ids: of the first `top_n` passages, best first, whether or not the floor refuses.
        probabilities: of these; None where no relevance model applied.
        refused: whether the floor refuses the question.
    """

    ids: Sequence[Hashable]
    probabilities: Sequence[float | None]
    refused: bool = False

    @property
    def weighty(self) -> list[Hashable]:
        """The best passage, and every other with half of its probability or more."""
        known = [0.0 if p is None else p for p in self.probabilities]
        return [
            identifier
            for place, (identifier, p) in enumerate(zip(self.ids, known, strict=True))
            if place == 0 or (p > 0.0 and p >= WEIGHTY * known[0])
        ]


def weighty_missed(reranked: Handed, skipped: Handed) -> bool:
    """Whether a passage that reranking hands over with weight is missing without it."""
    return not set(reranked.weighty) <= set(skipped.ids)


def skipping_changes(reranked: Handed, skipped: Handed) -> bool:
    """Whether skipping changes what is handed over: a passage with weight, or the refusal."""
    if reranked.refused or skipped.refused:
        return reranked.refused != skipped.refused
    return weighty_missed(reranked, skipped)
