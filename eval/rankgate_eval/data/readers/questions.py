"""Reads a user's own questions as JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankgate_eval.data.raw import RawDataset
from rankgate_eval.data.readers.gold import GoldQuestion, assemble
from rankgate_eval.data.readers.lines import identifier, json_objects
from rankgate_eval.finding import Place

_TEXT = ("question", "query", "text")
_ID = ("_id", "id", "query_id")
_LISTS = {
    "answers": ("answers", "answer"),
    "passage_ids": ("passage_ids", "passage_id"),
    "passages": ("passages", "passage"),
    "spans": ("spans", "span"),
}
_KNOWN = {*_TEXT, *_ID, "split", *(name for names in _LISTS.values() for name in names)}


def read_questions(
    file: str | Path, *, corpus: str | Path | None = None, name: str | None = None
) -> RawDataset:
    """Read JSON lines of questions.

    Each has `question` (or `query`, `text`), and `answer(s)`, `passage_id(s)`, `passage(s)`,
    `span(s)`, `id`, `split` as far as they are there; the rest is kept as fields. A question
    without any gold is one that the corpus does not answer.

    Args:
        file: plain or gzipped.
        corpus: where passages and spans are looked up; None: they form the corpus.
        name: of the data set; None: of the file.
    """
    source = Path(file)
    raw = RawDataset(name=source.name.split(".")[0] if name is None else name)
    return assemble(raw, gold_questions(source, raw), corpus=corpus)


def gold_questions(file: Path, raw: RawDataset) -> list[GoldQuestion]:
    """The questions of JSON lines, in file order; what is wrong with a line goes to `raw`."""
    read = (_question(row, raw, place) for place, row in json_objects(file, raw))
    return [question for question in read if question is not None]


def _question(row: dict[str, Any], raw: RawDataset, place: Place) -> GoldQuestion | None:
    text = next((row[name] for name in _TEXT if name in row), None)
    if not isinstance(text, str) or not text.strip():
        raw.error(
            "missing_field",
            f"expected the text of a question under question, query or text; got {text!r}",
            place,
        )
        return None
    given = next((row[name] for name in _ID if name in row), None)
    key = None if given is None else identifier(given)
    if given is not None and key is None:
        raw.error("wrong_type", f"the id must be a string that is not empty, got {given!r}", place)
        return None
    split = row.get("split")
    if split is not None and not isinstance(split, str):
        raw.error("wrong_type", f"split must be a string, got {split!r}", place)
        return None
    lists: dict[str, tuple[str, ...]] = {}
    for meaning, names in _LISTS.items():
        values: list[str] = []
        # A year is an answer too, and a number an id; `true` and 2.5 are mistakes.
        allowed = str | int if meaning in ("answers", "passage_ids") else str
        for name in names:
            value = row.get(name)
            items = value if isinstance(value, list) else [] if value is None else [value]
            if not all(isinstance(i, allowed) and not isinstance(i, bool) for i in items):
                raw.error("wrong_type", f"{name} must hold strings, got {str(value)[:80]!r}", place)
                return None
            values += [str(item) for item in items if str(item).strip()]
        lists[meaning] = tuple(values)
    return GoldQuestion(
        id=key,
        text=text,
        place=place,
        split=split or None,
        fields={name: value for name, value in row.items() if name not in _KNOWN},
        answers=lists["answers"],
        passage_ids=lists["passage_ids"],
        passages=lists["passages"],
        spans=lists["spans"],
    )
