"""The section "Did the answers get better?": what the end-to-end run put into the result.

What of it is shown in a place of its own is read strictly here; all else is shown as rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError

from rankgate.errors import ConfigError
from rankgate_eval.report.flatten import flatten
from rankgate_eval.report.words import comparison_name

_UNEQUAL = (
    "The arms' means are of different questions where their n differ, so they are not to be "
    "subtracted: the paired differences are over the questions that both arms have."
)
_MOVES = {
    "lift": "a relevant passage came in",
    "inversion": "a relevant passage left",
    "none": "no relevant passage moved",
}

# Beside the counts stand rates and ids, which the section's own file has.
_Counted = Annotated[
    Mapping[str, int],
    BeforeValidator(lambda row: {k: n for k, n in row.items() if type(n) is int}),
]
_Moves = Annotated[
    tuple[str, ...], AfterValidator(lambda moves: tuple(m for m in moves if m != "none"))
]
_Said = Annotated[str, BeforeValidator(lambda answer: "" if answer is None else answer)]
Counts = Mapping[str, _Counted]
"""Rows of counts: name to what was counted to how often."""


class Measured(BaseModel, frozen=True):
    """A mean or a difference; what was not measured is None."""

    mean: float | None
    ci: tuple[float, float] | None = None
    p: float | None = None
    n: int | None = None
    changed: int | None = None
    missing: int = 0


class Passage(BaseModel, frozen=True):
    """A context that was handed over."""

    passage_id: str
    snippet: str
    relevant: bool


class Side(BaseModel, frozen=True):
    """What one arm handed over and what became of it."""

    arm: str
    contexts: tuple[Passage, ...]
    answer: _Said
    failure: str = ""
    refused: bool
    judgements: Mapping[str, float | None]


class ChangedQuestion(BaseModel, frozen=True):
    """A question whose context changed."""

    query_id: str
    query: str
    kind: str
    moves: _Moves
    because: str
    references: tuple[str, ...]
    before: Side
    after: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """Before and after."""
        return self.before, self.after

    @property
    def reference(self) -> str:
        """The first reference answer, "" without one."""
        return next(iter(self.references), "")


class _Contexts(BaseModel, frozen=True):
    moves: Counts


class Answers(BaseModel, frozen=True):
    """The section, read; `rest` is all that has no place of its own."""

    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    n: int
    clusters: int
    queries_needed: int | None
    refusals: Counts
    contexts: Mapping[str, _Contexts]
    arms: Mapping[str, Mapping[str, Measured]]
    differences: Mapping[str, Mapping[str, Measured]]
    changed: tuple[ChangedQuestion, ...]
    rest: tuple[tuple[str, str], ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of the arms and the differences, each once."""
        tables = (*self.arms.values(), *self.differences.values())
        return tuple(dict.fromkeys(m for table in tables for m in table))

    @property
    def said(self) -> tuple[str, ...]:
        """The notes, and before them that the arms' means are of different questions, if so."""
        counts = ({t[m].n for t in self.arms.values() if m in t} for m in self.metrics)
        return (*((_UNEQUAL,) if any(len(ns) > 1 for ns in counts) else ()), *self.notes)

    @property
    def moves(self) -> Counts:
        """What moved passages did to the answers, by comparison and kind of move."""
        return {
            f"{comparison_name(name)}: {_MOVES.get(move, move)}": counted
            for name, found in self.contexts.items()
            for move, counted in found.moves.items()
        }


def read_answers(section: Mapping[str, Any]) -> Answers:
    """The section of a result.

    Raises:
        ConfigError: not what `rankgate eval e2e` writes.
    """
    known = {name: found for name, found in section.items() if name in Answers.model_fields}
    rest = flatten({name: found for name, found in section.items() if name not in known})
    try:
        return Answers.model_validate({**known, "rest": rest})
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"end_to_end of the result, at {where}: {first['msg']}. Run `rankgate eval e2e` again."
        ) from exc
