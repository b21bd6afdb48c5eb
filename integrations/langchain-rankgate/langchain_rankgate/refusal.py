"""Refusal: what a query gives for which even the best passage is too weak."""

from __future__ import annotations

from typing import Literal

from rankgate import Outcome, Passage
from rankgate.errors import RankgateError

__all__ = ["RefusedError", "WhenRefused", "shown"]

WhenRefused = Literal["empty", "raise", "mark"]
"""`empty`: no documents. `raise`: a `RefusedError`. `mark`: the documents that would have been
returned without a floor, each with `rankgate_outcome` set to `refused`, for whoever decides."""


class RefusedError(RankgateError):
    """The floor refused the query: not a failure, but the answer that there is none.

    Attributes:
        outcome: the whole outcome, with every passage and its probability.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.reason}: {outcome.detail}")
        self.outcome = outcome

    def __reduce__(self) -> tuple[type[RefusedError], tuple[Outcome]]:
        return type(self), (self.outcome,)


def shown(outcome: Outcome, when_refused: WhenRefused) -> tuple[Passage, ...]:
    """The passages to return.

    Raises:
        RefusedError: the query was refused, and `when_refused` is `raise`.
    """
    if not outcome.refused or when_refused == "empty":
        return outcome.kept
    if when_refused == "raise":
        raise RefusedError(outcome)
    return outcome.passages[: outcome.top_n]
