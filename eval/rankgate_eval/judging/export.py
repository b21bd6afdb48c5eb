"""Writes what was judged as data that `rankgate eval` and `rankgate calibrate` read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.judging.plan import Question
from rankgate_eval.judging.session import Kind, Session, Verdict
from rankgate_eval.judging.standing import consensus

__all__ = ["export", "propensities"]

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
        session: with verdicts.
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
    chances = dict(zip((q.id for q in session.questions), propensities(session), strict=True))
    judged = list(_labels(session, with_model=with_model))
    if not judged:
        raise InputError(f"nothing in {session.file} is judged yet, so there is nothing to export")
    texts = {**session.passages, **({} if corpus is None else corpus)}
    known = {} if documents is None else documents
    queries, lines, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for question, verdict, by in judged:
        fields: dict[str, Any] = {"propensity": chances[question.id], "labelled_by": by}
        if verdict.kind is Kind.UNANSWERABLE:
            fields["answerability"] = "unanswerable"
        queries.append({"_id": question.id, "text": question.text, **fields})
        grades = {p: verdict.grades.get(p, 0) for p in question.shown}
        qrels += [f"{question.id}\t{p}\t{g}" for p, g in grades.items()]
        relevant = [p for p, g in grades.items() if g > 0]
        lines.append(
            {"id": question.id, "question": question.text, "passage_ids": relevant, **fields}
        )
    rows = [
        {"_id": p, "text": t, **({"document": known[p]} if p in known else {})}
        for p, t in texts.items()
    ]
    files = {
        root / "corpus.jsonl": _lines(rows),
        root / "queries.jsonl": _lines(queries),
        root / "qrels" / f"{SPLIT}.tsv": "\n".join(qrels) + "\n",
        root / "judged.jsonl": _lines(lines),
    }
    try:
        (root / "qrels").mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            file.write_text(text, "utf-8")
    except OSError as exc:
        raise InputError(f"{root} cannot be written: {exc}") from exc
    return list(files)


def _labels(session: Session, *, with_model: bool) -> Iterator[tuple[Question, Verdict, str]]:
    for question in session.questions:
        people = session.of(question.id)
        models = session.of(question.id, model=True) if with_model else []
        said = people if people else models[-1:]
        together = consensus(said) if said else None
        if together is not None:
            yield question, together, "people" if people else "model"


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
