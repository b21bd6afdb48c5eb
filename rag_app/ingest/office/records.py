"""JSON and JSON lines: a line a record, its fields by name; what holds records is a heading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rag_app.ingest.decode import decode
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.plain import Parts

_DEEPEST = 6


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read records; their title is `stem`.

    Raises:
        ParseFailure: not_text, broken, no_text.
    """
    decoded, notes = decode(data)
    try:
        value = json.loads(decoded)
    except ValueError as exc:
        lines = [line for line in decoded.splitlines() if line.strip()]
        try:
            value = [json.loads(line) for line in lines]
        except ValueError:
            raise ParseFailure("broken", f"not readable as JSON: {exc}") from exc
    parts = Parts()
    _add(parts, value, 2)
    if all(block.kind == "heading" for block in parts.blocks):
        raise ParseFailure("no_text", "no field has a value")
    return parts.document(stem, stem, notes)


def _add(parts: Parts, value: Any, level: int) -> None:
    if not isinstance(value, dict):
        records = value if isinstance(value, list) else [value]
        parts.add("table", "\n".join(filter(None, map(_line, records))))
        return
    inner = {name: v for name, v in value.items() if _is_deep(v) and level <= _DEEPEST}
    own = ({name: v} for name, v in value.items() if name not in inner)
    parts.add("text", "\n".join(filter(None, map(_line, own))))
    for name, below in inner.items():
        parts.add("heading", name, level)
        _add(parts, below, level + 1)


def _is_deep(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(v, dict | list) for v in value)
    )


def _line(record: Any) -> str:
    said = "; ".join(f"{name}: {text}" if name else text for name, text in _flat(record, ""))
    return f"- {said}" if said else ""


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Each value with the names that lead to it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and _is_deep(value):
        for inner in value:
            yield from _flat(inner, path)
    else:
        values = value if isinstance(value, list) else [value]
        said = " ".join(", ".join(str(v) for v in values if v is not None).split())
        if said:
            yield path, said
