"""The questions of an end-to-end evaluation: from a data set, or a user's own JSON lines."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.finding import Finding, Place
from rankgate_eval.data.raw import RawDataset
from rankgate_eval.data.readers.lines import json_objects
from rankgate_eval.errors import DatasetError

__all__ = ["AskedQuestion", "questions_of", "read_own_questions", "sample_questions"]

_ANSWERABILITY = {"answerable": True, "partial": True, "unanswerable": False}
_TEXT = ("question", "query", "text")
_ID = ("_id", "id", "query_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """A question, and what is known of its answer.

    Attributes:
        id: unique.
        text: as it is asked.
        references: right answers, each of which will do; none where no answer is known.
        answerable: whether the corpus answers it; None: unknown, then no refusal is called
            right or wrong.
        relevant: ids of the passages that answer it, as far as they are judged.
        group: questions of one group succeed and fail together; the unit of chance.
        fields: whatever else stood in its row.
    """

    id: str
    text: str
    references: tuple[str, ...] = ()
    answerable: bool | None = None
    relevant: tuple[str, ...] = ()
    group: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """`group`, or the question itself where there is none."""
        return self.group if self.group else f"question {self.id}"


def questions_of(data: Dataset, split: str | None = None) -> list[AskedQuestion]:
    """A data set's questions, in file order.

    A judged question is answerable; an unjudged one is not, unless its field `answerability`
    says otherwise (`answerable`, `partial`, `unanswerable`; any other word: unknown).

    Raises:
        InputError: no such split.
    """
    found = []
    for query in data.query_ids(split):
        relevant = data.relevant(query)
        fields = data.fields.get(query, {})
        answerable: bool | None = bool(relevant)
        if "answerability" in fields:
            answerable = _ANSWERABILITY.get(str(fields["answerability"]).lower())
        found.append(
            AskedQuestion(
                id=query,
                text=data.queries[query],
                references=_known(data.answers(query)),
                answerable=answerable,
                relevant=relevant,
                group=data.group_of(query),
                fields=fields,
            )
        )
    return found


def read_own_questions(file: str | Path) -> list[AskedQuestion]:
    """Read JSON lines of a user's own questions.

    Each has `question` (or `query`, `text`) and, as far as they are known, `id`, `answer` or
    `answers`, `passage_ids`, `answerable` (true or false), `group`. Without `answerable`, a
    question with an answer or a passage is answerable, and of any other nothing is known.

    Raises:
        DatasetError: rows that cannot be used, all of them with their lines.
    """
    path = Path(file)
    raw = RawDataset(name=path.name)
    found: dict[str, AskedQuestion] = {}
    for number, (place, row) in enumerate(json_objects(path, raw), start=1):
        question = _own(row, number, place, raw)
        if question is None:
            continue
        if question.id in found:
            raw.error("duplicate_query_id", f"question id {question.id!r} stands twice", place)
        found[question.id] = question
    errors = list(raw.errors)
    if not found and not errors:
        errors.append(Finding(code="no_queries", message=f"{path} has no questions at all"))
    if errors:
        raise DatasetError(raw.name, errors)
    return list(found.values())


def _own(
    row: Mapping[str, Any], number: int, place: Place, raw: RawDataset
) -> AskedQuestion | None:
    text = next((row[name] for name in _TEXT if name in row), None)
    if not isinstance(text, str) or not text.strip():
        raw.error("missing_field", f"expected `question` with its text, got {text!r}", place)
        return None
    given = next((row[name] for name in _ID if name in row), None)
    answers = _list(row, ("answers", "answer"))
    passages = _list(row, ("passage_ids", "passage_id"))
    answerable = row.get("answerable")
    if answers is None or passages is None or not (answerable is None or answerable in (0, 1)):
        raw.error(
            "wrong_type",
            "`answer` and `passage_ids` are texts or lists of texts, `answerable` is true or false",
            place,
        )
        return None
    known = True if answers or passages else None
    used = {*_TEXT, *_ID, "answers", "answer", "passage_ids", "passage_id", "answerable", "group"}
    return AskedQuestion(
        id=f"q{number}" if given is None else str(given),
        text=text.strip(),
        references=_known(answers),
        answerable=known if answerable is None else bool(answerable),
        relevant=tuple(passages),
        group=str(row.get("group", "")),
        fields={k: v for k, v in row.items() if k not in used},
    )


def _list(row: Mapping[str, Any], names: Sequence[str]) -> list[str] | None:
    """Texts under any of the names; None where something else stands there."""
    found: list[str] = []
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, str | int) and not isinstance(v, bool) for v in values):
            return None
        found += [str(v) for v in values]
    return found


def sample_questions(
    questions: Sequence[AskedQuestion], limit: int | None, *, seed: int = 0
) -> list[AskedQuestion]:
    """At most `limit` of them, drawn at random, in their old order; None: all.

    Drawn, not cut off: the first questions of a file are about its first documents.

    Raises:
        InputError: the limit is below 1.
    """
    if limit is None:
        return list(questions)
    if limit < 1:
        raise InputError(f"--limit must be at least 1, got {limit}")
    if limit >= len(questions):
        return list(questions)
    chosen = set(random.Random(seed).sample(range(len(questions)), limit))
    return [q for i, q in enumerate(questions) if i in chosen]


def _known(answers: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(a.strip() for a in answers if a.strip()))
