"""What a reader read, row by row with its place, before anything has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.finding import Finding, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageRow:
    """A passage; `document` names what it was cut from, None where that is not known."""

    id: str
    text: str
    place: Place
    document: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRow:
    """A query; `fields` holds whatever else stood in its row."""

    id: str
    text: str
    place: Place
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementRow:
    """A judgement: a grade above 0 is relevant."""

    query: str
    passage: str
    grade: int
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """That a query belongs to a split."""

    split: str
    query: str
    place: Place


@dataclass(slots=True, kw_only=True)
class RawDataset:
    """The rows of one data set, and what its reader could not read.

    Readers append to it; `rankgate_eval.data.dataset_check` judges it.
    """

    name: str
    passages: list[PassageRow] = field(default_factory=list)
    queries: list[QueryRow] = field(default_factory=list)
    judgements: list[JudgementRow] = field(default_factory=list)
    splits: list[SplitRow] = field(default_factory=list)
    min_grade: int = 1
    highest_grade: int = 0
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def error(self, code: str, message: str, place: Place | None = None) -> None:
        """Note an error."""
        self.errors.append(Finding(code=code, message=message, place=place))

    def warn(self, code: str, message: str, place: Place | None = None) -> None:
        """Note a warning."""
        self.warnings.append(Finding(code=code, message=message, place=place))

    def count_from(self, min_grade: int) -> None:
        """Let grades below this one be 0: judged, and not relevant.

        Raises:
            InputError: it is below 1, so that 0 would be relevant.
        """
        if min_grade < 1:
            raise InputError(
                f"the least grade that is relevant is at least 1, got {min_grade}: 0 is what a "
                "judge gives to a passage that does not help"
            )
        self.min_grade = min_grade
        self.highest_grade = max((row.grade for row in self.judgements), default=0)
        self.judgements = [
            replace(row, grade=0) if 0 < row.grade < min_grade else row for row in self.judgements
        ]
