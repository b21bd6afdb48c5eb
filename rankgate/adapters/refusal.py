"""Refusal: what a query gives whose best passage is too weak, or whose scorer failed."""

from __future__ import annotations

from typing import Any, Literal, get_args

from rankgate.decide.floor import Band
from rankgate.errors import InputError, RankgateError
from rankgate.outcome import Outcome
from rankgate.types import Passage, Path

__all__ = [
    "REFUSAL",
    "WEAK",
    "DegradedError",
    "RefusedError",
    "WhenDegraded",
    "WhenRefused",
    "one_of",
    "said",
    "shown",
]

WhenRefused = Literal["empty", "raise", "mark", "say"]
"""`empty`: no documents. `raise`: a `RefusedError`. `mark`: the documents that would have been
returned without a floor, each with `rankgate_outcome` set to `refused`, for whoever decides.
`say`: one document whose text is `REFUSAL`, for a model that reads it; weak evidence is preceded
by one whose text is `WEAK`."""

WhenDegraded = Literal["keep", "raise"]
"""`keep`: the first stage's order, each document with `rankgate_outcome` set to `degraded`.
`raise`: a `DegradedError`, for `with_fallbacks` or `with_retry`."""

REFUSAL = "No relevant document was found for this question. Say that the information is not there."


WEAK = "Weak evidence: what follows may not hold the answer. Say so, and add nothing to it."


def said(outcome: Outcome, when_refused: WhenRefused, *, empty: bool) -> str | None:
    """What a model is told in words, with `say`, before what is returned; None: nothing."""
    if when_refused != "say":
        return None
    if empty:
        return REFUSAL
    return WEAK if outcome.band is Band.WEAK else None


class _OutcomeError(RankgateError):
    """What an outcome says, where the caller wants it raised.

    Attributes:
        outcome: the whole outcome, with every passage and its probability.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.reason}: {outcome.detail}")
        self.outcome = outcome

    def __reduce__(self) -> tuple[type[_OutcomeError], tuple[Outcome]]:
        return type(self), (self.outcome,)


class RefusedError(_OutcomeError):
    """The floor refused the query: not a failure, but the answer that there is none."""


class DegradedError(_OutcomeError):
    """The scorer failed or ran out of time, and the first stage's order was not wanted."""


def shown(
    outcome: Outcome, when_refused: WhenRefused, when_degraded: WhenDegraded = "keep"
) -> tuple[Passage, ...]:
    """The passages to return.

    Raises:
        RefusedError: the query was refused, and `when_refused` is `raise`.
        DegradedError: the outcome is degraded, and `when_degraded` is `raise`.
    """
    if outcome.path is Path.DEGRADED and when_degraded == "raise":
        raise DegradedError(outcome)
    if not outcome.refused or when_refused in ("empty", "say"):
        return outcome.kept
    if when_refused == "raise":
        raise RefusedError(outcome)
    return outcome.passages[: outcome.top_n]


def one_of(name: str, value: Any, choices: Any) -> Any:
    """The value, if it is one of a `Literal`'s.

    Raises:
        InputError: it is not; the message lists them.
    """
    if value not in get_args(choices):
        known = ", ".join(repr(choice) for choice in get_args(choices))
        raise InputError(f"{name} must be one of {known}; got {value!r}")
    return value
