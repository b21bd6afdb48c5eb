"""Reads passages and queries as BEIR writes them: one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rankgate_eval.data.raw import PassageRow, QueryRow, RawDataset, SplitRow
from rankgate_eval.data.readers.lines import identifier, json_objects
from rankgate_eval.finding import Place

Rows = Iterable[tuple[Place, dict[str, Any]]]


def read_passages(file: Path, raw: RawDataset) -> None:
    """Append the passages of a `corpus.jsonl` or `.jsonl.gz`.

    Each has `_id`, `text`, perhaps `title` (put before the text on a line of its own) and
    `document` (what the passage was cut from).
    """
    add_passages(json_objects(file, raw), raw)


def add_passages(rows: Rows, raw: RawDataset) -> None:
    """Append passages that were read from whatever holds them."""
    for place, row in rows:
        key = _key(row, raw, place)
        text = _string(row, "text", raw, place, required=True)
        title = _string(row, "title", raw, place)
        document = row.get("document")
        if document is not None and identifier(document) is None:
            raw.error("wrong_type", f"document must be a string, got {document!r}", place)
            continue
        if key is None or text is None or title is None:
            continue
        raw.passages.append(
            PassageRow(
                id=key,
                text="\n".join(part for part in (title, text) if part),
                place=place,
                document=identifier(document),
            )
        )


def read_queries(file: Path, raw: RawDataset) -> None:
    """Append the queries of a `queries.jsonl`: `_id`, `text`; all else is kept as fields.

    `split` puts the query into a split. A conversation (`turns`, no `text`) is asked by its
    last user turn.
    """
    add_queries(json_objects(file, raw), raw)


def add_queries(rows: Rows, raw: RawDataset) -> None:
    """Append queries that were read from whatever holds them."""
    for place, row in rows:
        key = _key(row, raw, place)
        text = _last_turn(row)
        if text is None:
            text = _string(row, "text", raw, place, required=True)
        fields = {k: v for k, v in row.items() if k not in ("_id", "text")}
        if key is None or text is None or not read_answer_fields(fields, raw, place):
            continue
        raw.queries.append(QueryRow(id=key, text=text, place=place, fields=fields))
        split = fields.get("split")
        if isinstance(split, str) and split:
            raw.splits.append(SplitRow(split=split, query=key, place=place))


def read_answer_fields(fields: dict[str, Any], raw: RawDataset, place: Place) -> bool:
    """Whether `answer` and `answers`, where present, are a string and a list of strings."""
    answer, answers = fields.get("answer"), fields.get("answers")
    if answer is not None and not isinstance(answer, str):
        raw.error("wrong_type", f"answer must be a string, got {answer!r}", place)
        return False
    if answers is not None and not (
        isinstance(answers, list) and all(isinstance(a, str) for a in answers)
    ):
        raw.error("wrong_type", f"answers must be a list of strings, got {answers!r}", place)
        return False
    return True


def _key(row: dict[str, Any], raw: RawDataset, place: Place) -> str | None:
    if "_id" not in row:
        raw.error("missing_field", "the row has no _id", place)
        return None
    key = identifier(row["_id"])
    if key is None:
        raw.error(
            "wrong_type", f"_id must be a string that is not empty, got {row['_id']!r}", place
        )
    return key


def _string(
    row: dict[str, Any], name: str, raw: RawDataset, place: Place, *, required: bool = False
) -> str | None:
    """The field's string; "" where it is absent and not required; None after an error."""
    value = row.get(name)
    if value is None:
        if not required:
            return ""
        raw.error("missing_field", f"the row has no {name}", place)
        return None
    if not isinstance(value, str):
        raw.error("wrong_type", f"{name} must be a string, got {value!r}", place)
        return None
    return value


def _last_turn(row: dict[str, Any]) -> str | None:
    turns = row.get("turns")
    if "text" in row or not isinstance(turns, list):
        return None
    said = [t.get("text") for t in turns if isinstance(t, dict) and t.get("role") == "user"]
    return said[-1] if said and isinstance(said[-1], str) else None
