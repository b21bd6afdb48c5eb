"""The feedback log: what people said about passages, one JSON object a line.

The application appends to it; training and evaluation read it. Its shape is published as a JSON
schema (`feedback_schema()`), so any other program may write one too.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from rankgate.errors import InputError

__all__ = [
    "FEEDBACK_FILE",
    "FEEDBACK_SOURCES",
    "FeedbackLog",
    "Judgement",
    "append_feedback",
    "append_rows",
    "feedback_schema",
    "read_feedback",
]

_VERSION = 1
FEEDBACK_FILE = "feedback.jsonl"
"""Name of the log in a data folder."""

FEEDBACK_SOURCES = ("thumb", "reask", "opened", "cited")
"""How a judgement came about, the strongest evidence first, except `cited`."""

_OPTIONAL = ("rank", "relevance_score", "outcome", "policy", "session", "collection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One passage judged for one question.

    Attributes:
        query: the question as it was searched.
        passage_text: as the scorer read it; the log stays usable when the index is rebuilt.
        source: one of `FEEDBACK_SOURCES`: a thumb, a question asked again in other words (the
            passages shown before were no help), a source that was opened, a citation checked.
        time: when; with a time zone.
        rank: 1-based place at which it was shown.
        relevance_score: the probability that was shown, in [0, 1].
        outcome: status of the query: `reranked`, `skipped`, `degraded` or `refused`.
        policy: name of the policy in force.
        session: groups the judgements of one visit; no name of a person.
        collection: in which the passage was shown; None in logs written before there was this
            field.
    """

    query: str
    passage_id: str
    passage_text: str
    relevant: bool
    source: str
    time: datetime
    rank: int | None = None
    relevance_score: float | None = None
    outcome: str | None = None
    policy: str | None = None
    session: str | None = None
    collection: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the log; what is None is left out.

        Raises:
            InputError: a value that the schema does not allow.
        """
        if self.time.tzinfo is None:
            raise InputError(f"the time of a judgement needs a time zone, got {self.time}")
        row: dict[str, Any] = {
            "version": _VERSION,
            "time": self.time.isoformat(),
            "query": self.query,
            "passage": {"id": self.passage_id, "text": self.passage_text},
            "verdict": "relevant" if self.relevant else "not_relevant",
            "source": self.source,
        }
        row |= {n: getattr(self, n) for n in _OPTIONAL if getattr(self, n) is not None}
        problem = _problem(row)
        if problem is not None:
            raise InputError(f"this judgement cannot be logged: {problem}")
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Judgement:
        """The inverse of `to_dict`.

        Raises:
            InputError: the row does not follow the schema.
        """
        problem = _problem(row)
        if problem is not None:
            raise InputError(problem)
        try:
            time = datetime.fromisoformat(row["time"])
        except ValueError as exc:
            raise InputError(f"time: {exc}") from exc
        return cls(
            query=row["query"],
            passage_id=row["passage"]["id"],
            passage_text=row["passage"]["text"],
            relevant=row["verdict"] == "relevant",
            source=row["source"],
            time=time,
            **{name: row.get(name) for name in _OPTIONAL},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackLog:
    """What was read from a log.

    Attributes:
        judgements: in file order.
        torn: lines that were left out because their writer was killed within them.
    """

    judgements: tuple[Judgement, ...]
    torn: int = 0

    def counting(self) -> dict[tuple[str, str], Judgement]:
        """The judgement that counts, by query and passage id.

        Of several, one by thumb beats what was inferred; among equals the latest counts.
        """
        best: dict[tuple[str, str], Judgement] = {}
        for j in self.judgements:
            before = best.setdefault((j.query, j.passage_id), j)
            if (j.source == "thumb", j.time) >= (before.source == "thumb", before.time):
                best[j.query, j.passage_id] = j
        return best

    def verdicts(self) -> dict[str, dict[str, bool]]:
        """Query to passage id to the verdict that counts; see `counting`."""
        found: dict[str, dict[str, bool]] = {}
        for (query, passage), j in self.counting().items():
            found.setdefault(query, {})[passage] = j.relevant
        return found

    def passages(self) -> dict[str, str]:
        """Passage id to its latest text."""
        latest = sorted(self.judgements, key=lambda j: j.time)
        return {j.passage_id: j.passage_text for j in latest}


def feedback_schema() -> dict[str, Any]:
    """JSON schema of one line (draft 2020-12)."""
    text = files("rankgate").joinpath("feedback.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def read_feedback(file: str | Path) -> FeedbackLog:
    """Read a log; a line that its writer did not finish is left out and counted.

    Raises:
        InputError: no such file, or a finished line that is not JSON or not of the schema.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError(f"no feedback log at {path}")
    found, torn = [], 0
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(Judgement.from_dict(json.loads(line)))
        except ValueError as exc:  # json's error and InputError both
            if isinstance(exc, json.JSONDecodeError) and _torn(line):
                torn += 1
                continue
            raise InputError(f"{path}:{number}: {exc}") from exc
    return FeedbackLog(judgements=tuple(found), torn=torn)


def _torn(line: str) -> bool:
    """Whether this is the beginning of an object without its end."""
    return line.startswith("{") and not line.rstrip().endswith("}")


def append_feedback(file: str | Path, judgements: Iterable[Judgement]) -> None:
    """Append to a log, in one write; a line left incomplete by a killed writer is ended first.

    Raises:
        InputError: a judgement that the schema does not allow; nothing is written then.
    """
    append_rows(file, [j.to_dict() for j in judgements])


def append_rows(file: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append JSON lines in one write, for the owner's eyes alone; see `append_feedback`."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(
        "utf-8", "replace"
    )
    if not text:
        return
    descriptor = os.open(Path(file), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
            if stream.read(1) != b"\n":
                text = b"\n" + text
        stream.write(text)


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(feedback_schema())


def _problem(row: Any) -> str | None:
    """What is wrong with a row, in a sentence; None where nothing is."""
    error = next(iter(_validator().iter_errors(row)), None)
    if error is None:
        return None
    where = "/".join(str(p) for p in error.absolute_path)
    return f"{where or 'the line'}: {error.message}"
