"""Reads triples: one question a row with a passage that answers it and some that do not.

JSON lines: `{"query": ..., "positive": text or list, "negative": text or list (optional)}`.
TSV: query, positive, then any number of negatives; no header.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.train.corpus import TrainingCorpus, TrainingQuery

__all__ = ["read_triples"]

_Row = tuple[str, list[str], list[str]]


def read_triples(file: str | Path, *, licence: str = "not stated") -> TrainingCorpus:
    """A corpus made of the texts that stand in the rows; equal texts are one passage.

    Equal questions are one query with all of their passages; a passage that is positive in one
    row and negative in another counts as positive.

    Raises:
        InputError: the file is absent, empty, or a row cannot be read; it names the line.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError(f"no file of triples at {path}")
    rows = _json_rows(path) if path.suffix.casefold() == ".jsonl" else _table_rows(path)
    passages: dict[str, str] = {}
    positives: dict[str, dict[str, None]] = {}
    negatives: dict[str, dict[str, None]] = {}
    for query, good, bad in rows:
        for texts, kept in ((good, positives), (bad, negatives)):
            for text in texts:
                identifier = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
                passages[identifier] = text
                kept.setdefault(query, {})[identifier] = None
    if not positives:
        raise InputError(f"{path} holds no triples")
    queries = tuple(
        TrainingQuery(
            id=str(i),
            text=query,
            positives=tuple(good),
            negatives=tuple(p for p in negatives.get(query, {}) if p not in good),
            group=next(iter(good)),
        )
        for i, (query, good) in enumerate(positives.items())
    )
    return TrainingCorpus(
        name=path.stem, passages=passages, queries=queries, licence=licence, source="triples"
    )


def _json_rows(path: Path) -> Iterator[_Row]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as exc:
            raise InputError(f"{where}: not JSON: {exc}") from exc
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object, got {type(row).__name__}")
        yield (
            _text(row.get("query"), where, "query"),
            _texts(row.get("positive"), where, "positive", needed=True),
            _texts(row.get("negative"), where, "negative", needed=False),
        )


def _table_rows(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        for number, cells in enumerate(csv.reader(stream, delimiter="\t"), 1):
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}:{number}"
            if len(cells) < 2:
                raise InputError(
                    f"{where}: expected query, positive and negatives between tabs, got "
                    f"{len(cells)} column"
                )
            query, positive, *bad = cells
            yield (
                _text(query, where, "query"),
                [_text(positive, where, "positive")],
                [cell for cell in bad if cell.strip()],
            )


def _text(value: Any, where: str, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {name!r} must be a text that is not empty, got {value!r}")
    return value


def _texts(value: Any, where: str, name: str, *, needed: bool) -> list[str]:
    if value is None and not needed:
        return []
    listed = value if isinstance(value, list) else [value]
    if needed and not listed:
        raise InputError(f"{where}: {name!r} is an empty list")
    return [_text(item, where, name) for item in listed]
