"""A judging session in one file of JSON lines: what is to be judged, then each verdict.

The head is written at once; a verdict is appended and on the disk before the next question is
shown. So a session goes on where it was left, whatever killed it, and several people may write into
one file at the same time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate.texts import whole_file
from rankgate_eval.judging.plan import Question

GRADES = (0, 1, 2)
"""Not relevant, partly, fully."""
_VERSION = 1


class Kind(StrEnum):
    """What somebody said of a question.

    `graded`: every passage shown has a grade; all 0 says that none of these helps, and nothing of
    the rest of the documents. `unanswerable`: none of these, and it is in no document either.
    `skipped`: the judge cannot tell; the question counts as one that reranking does not change.
    """

    GRADED = "graded"
    UNANSWERABLE = "unanswerable"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One judge's answer to one question; a later one of the same judge replaces it.

    Attributes:
        grades: passage id to grade, all of those shown where `kind` is graded; else none.
        model: whether the judge is a language model, whose word is rectified and never taken.
        seconds: that it took; None where nobody measured.
    """

    question: str
    judge: str
    kind: Kind
    grades: Mapping[str, int] = field(default_factory=dict)
    model: bool = False
    seconds: float | None = None


def model_judge(model: str) -> str:
    """The name under which a model judges; nobody else may have one that begins so."""
    return f"model:{model}"


class Session:
    """An opened session.

    Args:
        questions: in the order of drawing.
        passages: id to text of what is shown.
        top_n: passages of each way that are shown.
        made: how it was made, for the record.
        verdicts: given so far, oldest first.
    """

    def __init__(
        self,
        file: Path,
        *,
        questions: Sequence[Question],
        passages: Mapping[str, str],
        top_n: int,
        made: Mapping[str, Any],
        verdicts: Iterable[Verdict] = (),
    ) -> None:
        self.file = file
        self.questions = tuple(questions)
        self.passages = dict(passages)
        self.top_n = top_n
        self.made = dict(made)
        self.by_id = {q.id: q for q in self.questions}
        self._said: dict[tuple[str, str], Verdict] = {}
        for verdict in verdicts:
            self._said[verdict.question, verdict.judge] = verdict

    @classmethod
    def create(
        cls,
        file: str | Path,
        questions: Sequence[Question],
        passages: Mapping[str, str],
        *,
        top_n: int,
        made: Mapping[str, Any] | None = None,
    ) -> Session:
        """Begin a session; nothing that is there is overwritten.

        Raises:
            InputError: the file is there already, or cannot be written.
        """
        path = Path(file)
        found = cls(path, questions=questions, passages=passages, top_n=top_n, made=made or {})
        head = {
            "version": _VERSION,
            "top_n": top_n,
            "made": found.made,
            "passages": found.passages,
            "questions": [asdict(q) for q in found.questions],
        }
        if path.exists():
            raise InputError(f"{path} is there already: go on with it, or name another file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part:
                part.write_text(json.dumps(head, ensure_ascii=False) + "\n", "utf-8")
        except OSError as exc:
            raise InputError(f"{path} cannot be written: {exc}") from exc
        return found

    @classmethod
    def open(cls, file: str | Path) -> Session:
        """Go on with a session; a line that its writer did not finish is left out.

        Raises:
            InputError: no such file, or it is not a session.
        """
        path = Path(file)
        try:
            first, *rest = path.read_bytes().decode("utf-8", "replace").split("\n")
        except OSError as exc:
            raise InputError(f"the session {path} cannot be read: {exc}") from exc
        try:
            head = json.loads(first)
            if head["version"] != _VERSION:
                raise InputError(
                    f"{path} has version {head['version']}, this rankgate reads {_VERSION}"
                )
            lists = ("shown", "without", "reranked")
            questions = [
                Question(**{**row, **{name: tuple(row[name]) for name in lists}})
                for row in head["questions"]
            ]
            found = cls(
                path,
                questions=questions,
                passages=head["passages"],
                top_n=head["top_n"],
                made=head["made"],
            )
        except (ValueError, KeyError, TypeError) as exc:
            if isinstance(exc, InputError):
                raise
            raise InputError(f"{path} is not a judging session: {exc!r}") from exc
        found._take(rest)
        return found

    def _take(self, lines: Sequence[str]) -> None:
        for number, line in enumerate(lines, start=2):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:  # its writer was killed within it; the question is asked again
                continue
            try:
                row.pop("time", None)
                verdict = self._checked(Verdict(**{**row, "kind": Kind(row["kind"])}))
            except (KeyError, TypeError, ValueError) as exc:
                raise InputError(f"{self.file}:{number}: {exc}") from exc
            self._said[verdict.question, verdict.judge] = verdict

    def add(self, *verdicts: Verdict) -> None:
        """Keep verdicts; they are on the disk when this returns.

        Raises:
            InputError: no such question, or not a grade for each passage shown.
        """
        rows = []
        for verdict in verdicts:
            row = asdict(self._checked(verdict)) | {"time": datetime.now(UTC).isoformat()}
            rows.append(json.dumps(row, ensure_ascii=False) + "\n")
        _append(self.file, "".join(rows))
        for verdict in verdicts:
            self._said[verdict.question, verdict.judge] = verdict

    def _checked(self, verdict: Verdict) -> Verdict:
        question = self.by_id.get(verdict.question)
        if question is None:
            raise InputError(f"there is no question {verdict.question!r} in {self.file}")
        if not verdict.judge.strip():
            raise InputError("a judge needs a name")
        if verdict.model is not verdict.judge.startswith(model_judge("")):
            raise InputError(f"a model's name, and no other, begins with model:; {verdict.judge!r}")
        wanted = set(question.shown) if verdict.kind is Kind.GRADED else set()
        if set(verdict.grades) != wanted:
            raise InputError(
                f"a verdict that is {verdict.kind} has a grade for {len(wanted)} passages of "
                f"question {question.id!r}; got {len(verdict.grades)}"
            )
        for passage, grade in verdict.grades.items():
            if isinstance(grade, bool) or grade not in GRADES:
                raise InputError(f"a grade is one of {GRADES}, got {grade!r} for {passage!r}")
        return verdict

    def of(self, question: str, *, model: bool = False) -> list[Verdict]:
        """Verdicts on a question, of people or of models."""
        return [v for (q, _), v in self._said.items() if q == question and v.model is model]

    def by(self, judge: str) -> dict[str, Verdict]:
        """Question id to what a judge said."""
        return {q: v for (q, j), v in self._said.items() if j == judge}

    def judges(self, *, model: bool = False) -> list[str]:
        """Names of the people, or of the models, in the order of their first verdict."""
        return list(dict.fromkeys(v.judge for v in self._said.values() if v.model is model))

    def next(self, judge: str) -> Question | None:
        """The first question that a judge has said nothing of; None where there is none left."""
        done = self.by(judge)
        return next((q for q in self.questions if q.id not in done), None)

    @property
    def settled(self) -> int:
        """So many questions from the first on have a person's verdict: what may be counted."""
        people = {q for (q, _), v in self._said.items() if not v.model}
        return next(
            (i for i, q in enumerate(self.questions) if q.id not in people), len(self.questions)
        )


def _append(file: Path, text: str) -> None:
    """In one write, behind a line that a killed writer left open."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND)
    except OSError as exc:
        raise InputError(f"the session {file} cannot be written: {exc}") from exc
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        stream.seek(-1, os.SEEK_END)
        torn = stream.read(1) != b"\n"
        stream.write((("\n" if torn else "") + text).encode("utf-8", "replace"))
        os.fsync(descriptor)
