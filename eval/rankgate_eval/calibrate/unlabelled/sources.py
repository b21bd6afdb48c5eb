"""Questions that nobody judged, and where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from rankgate_eval.data.groups import document_groups
from rankgate_eval.data.readers.asked import read_asked as read_rows
from rankgate_eval.negatives.unanswerable import Question
from rankgate_eval.stats.folds import spread

FOREIGN = "foreign"
_CONVERSATION = ("conversation", "conversation_id", "session", "session_id", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Questions with the conversations they stand in.

    Attributes:
        questions: id to text.
        groups: id to conversation, for those of which it is known.
        sources: id to where it comes from: `questions`, `log` or `documents`.
    """

    questions: Mapping[str, str]
    groups: Mapping[str, str]
    sources: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def limited(self, limit: int | None) -> Asked:
        """At most so many questions, evenly drawn; None: all."""
        if limit is None:
            return self
        kept = spread(list(self.questions), limit)
        return replace(self, questions={q: self.questions[q] for q in kept})

    def conversations(self) -> dict[str, str]:
        """Id to conversation; questions in the same words stand in one."""
        known = {q: [self.groups[q]] if q in self.groups else [] for q in self.questions}
        return document_groups(self.questions, known, texts=self.questions)


def read_asked(file: str | Path, *, source: str = "questions") -> Asked:
    """Questions of a file, and their conversations where it names them.

    Args:
        file: as in `rankgate_eval.data.readers.asked`; rows may have `conversation`, `session` or
            `group`.

    Raises:
        DatasetError: rows that cannot be read, with their lines.
        InputError: no question.
    """
    rows = [
        (row.text, next((str(row.fields[n]) for n in _CONVERSATION if row.fields.get(n)), None))
        for row in read_rows(file)
    ]
    ids = [f"{source}:{number}" for number in range(1, len(rows) + 1)]
    named = zip(ids, rows, strict=True)
    return Asked(
        questions={i: text for i, (text, _) in zip(ids, rows, strict=True)},
        groups={i: f"{source}:{group}" for i, (_, group) in named if group is not None},
        sources=dict.fromkeys(ids, source),
    )


def joined(parts: Sequence[Asked]) -> Asked:
    """Several sources together; ids of the second and later ones get its number before them."""
    named = [(part, "" if i == 0 else f"{i}:") for i, part in enumerate(parts)]
    return Asked(
        questions={f"{n}{q}": text for part, n in named for q, text in part.questions.items()},
        groups={f"{n}{q}": group for part, n in named for q, group in part.groups.items()},
        sources={f"{n}{q}": source for part, n in named for q, source in part.sources.items()},
        notes=tuple(note for part in parts for note in part.notes),
    )


def foreign_bank(own: Iterable[str] = ()) -> list[Question]:
    """The questions of many fields that ship with rankgate, without those in `own`."""
    text = resources.files("rankgate_eval.negatives").joinpath("foreign.txt").read_text("utf-8")
    known, found, field = set(own), [], ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            field = line.lstrip("# ").strip()
        elif line.strip() and line.strip() not in known:
            found.append(
                Question(id=f"{FOREIGN}:{number}", text=line.strip(), stratum=f"{FOREIGN}:{field}")
            )
    return found
