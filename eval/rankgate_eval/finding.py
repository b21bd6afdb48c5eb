"""A finding: something wrong or doubtful in a data set, with its file and line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands: a file and, where there is one, its line (from 1)."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}, line {self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found.

    Attributes:
        code: a short name, the same for all findings of a kind, such as `unknown_passage`.
        message: what is wrong, what was read, and how to mend it.
        place: where; None where it concerns the data set as a whole.
    """

    code: str
    message: str
    place: Place | None = None

    def __str__(self) -> str:
        return self.message if self.place is None else f"{self.place}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data: code, message, file, line."""
        return {
            "code": self.code,
            "message": self.message,
            "file": None if self.place is None else self.place.file,
            "line": None if self.place is None else self.place.line,
        }
