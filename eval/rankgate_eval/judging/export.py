"""Writes what was judged as data that `rankgate eval` and `rankgate calibrate` read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.judging.plan import Question
from rankgate_eval.judging.session import Kind, Session
from rankgate_eval.judging.standing import consensus

SPLIT = "judged"


def propensities(session: Session) -> list[float]:
    """The chance of each question to be among the first `settled` drawn, in (0, 1].

    Drawing by weight without replacement is a race of exponential clocks; this is the chance that
    a clock has rung by the time at which so many have on average (Rosen, J. Stat. Plann.
    Inference 62, 1997, doi:10.1016/S0378-3758(96)00186-3).
    """
    weights, drawn = [q.weight for q in session.questions], session.settled
    if drawn >= len(weights):
        return [1.0] * len(weights)
    low, high = 0.0, 1.0
    while sum(-math.expm1(-w * high) for w in weights) < drawn:
        high *= 2.0
    for _ in range(60):
        middle = (low + high) / 2.0
        rung = sum(-math.expm1(-w * middle) for w in weights)
        low, high = (middle, high) if rung < drawn else (low, middle)
    return [round(-math.expm1(-w * high), 6) for w in weights]


def export(
    session: Session,
    folder: str | Path,
    *,
    corpus: Mapping[str, str] | None = None,
    documents: Mapping[str, str] | None = None,
    with_model: bool = False,
) -> list[Path]:
    """Write a BEIR folder, and the same questions as JSON lines.

    A question of which no passage shown helps keeps its grades of 0; one that no document answers
    says so in its field `answerability`. Skipped ones are left out. Questions were drawn with
    unequal chances: `propensity` has each one's, and its inverse is its weight.

    Args:
        folder: made if need be: corpus.jsonl, queries.jsonl, qrels/judged.tsv, judged.jsonl.
        corpus: passage id to text, of all passages; None: those that were shown, among which
            every first stage looks good.
        documents: passage id to document, as far as known.
        with_model: also what a model alone has judged, unrectified; `labelled_by` tells.

    Returns:
        The files.

    Raises:
        InputError: nothing is judged yet, or it cannot be written.
    """
    root = Path(folder)
    named: dict[str, list[str]] = {}  # a system's ids need not be the corpus's; texts are
    for p, text in (session.passages if corpus is None else corpus).items():
        named.setdefault(text, []).append(p)
    own = {p: named.get(text, [p]) for p, text in session.passages.items()}
    judged = [
        replace(label, grades={i: g for p, g in label.grades.items() for i in own[p]})
        for label in _labels(session, with_model=with_model)
    ]
    texts = {p: text for p, text in session.passages.items() if corpus is None or text not in named}
    texts |= {} if corpus is None else corpus
    known = {} if documents is None else documents
    qrels = ["query-id\tcorpus-id\tscore"]
    for label in judged:
        qrels += [f"{label.question.id}\t{p}\t{g}" for p, g in label.grades.items()]
    rows = [
        {"_id": p, "text": t, **({"document": known[p]} if p in known else {})}
        for p, t in texts.items()
    ]
    files = {
        root / "corpus.jsonl": _lines(rows),
        root / "queries.jsonl": _lines(
            {"_id": one.question.id, "text": one.question.text, **one.fields} for one in judged
        ),
        root / "qrels" / f"{SPLIT}.tsv": "\n".join(qrels) + "\n",
        root / "judged.jsonl": _lines(one.line for one in judged),
    }
    try:
        (root / "qrels").mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            file.write_text(text, "utf-8")
    except OSError as exc:
        raise InputError(f"{root} cannot be written: {exc}") from exc
    return list(files)


def judged_lines(session: Session) -> str:
    """What people judged as JSON lines of questions, for a corpus that whoever reads them has.

    Raises:
        InputError: nothing is judged yet.
    """
    return _lines(one.line for one in _labels(session, with_model=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """A judged question with what is written of it."""

    question: Question
    grades: Mapping[str, int]
    fields: Mapping[str, Any]

    @property
    def line(self) -> dict[str, Any]:
        relevant = [p for p, g in self.grades.items() if g > 0]
        asked = {"id": self.question.id, "question": self.question.text}
        return {**asked, "passage_ids": relevant, **self.fields}


def _labels(session: Session, *, with_model: bool) -> list[_Label]:
    found = []
    for question, chance in zip(session.questions, propensities(session), strict=True):
        people = session.of(question.id)
        models = session.of(question.id, model=True) if with_model else []
        said = people if people else models[-1:]
        together = consensus(said) if said else None
        if together is None:
            continue
        by = "people" if people else "model"
        fields: dict[str, Any] = {"propensity": chance, "labelled_by": by}
        if together.kind is Kind.UNANSWERABLE:
            fields["answerability"] = "unanswerable"
        grades = {p: together.grades.get(p, 0) for p in question.shown}
        found.append(_Label(question=question, grades=grades, fields=fields))
    if not found:
        raise InputError(f"nothing in {session.file} is judged yet, so there is nothing to export")
    return found


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
