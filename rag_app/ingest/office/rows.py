"""CSV and TSV: a line a row, each cell with the name of its column, so that no cut loses it."""

from __future__ import annotations

import csv
import io

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.html import Parts

_SAMPLE = 20_000


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a table; its title is `stem`.

    Raises:
        ParseFailure: not_text, broken, no_text.
    """
    decoded, notes = decode(data)
    text = clean(decoded)
    try:
        form: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:_SAMPLE], ",;\t|")
    except csv.Error:  # a single column, or hardly any row
        form = csv.excel
    csv.field_size_limit(limits.max_bytes)  # of this process, which reads files alone
    try:
        rows = [
            [" ".join(cell.split()) for cell in row] for row in csv.reader(io.StringIO(text), form)
        ]
    except csv.Error as exc:
        raise ParseFailure("broken", f"not readable as a table: {exc}") from exc
    parts = Parts()
    parts.add("table", named_rows([row for row in rows if any(row)]))
    if not parts.blocks:
        raise ParseFailure("no_text", "the table has no cell with text")
    return parts.document(stem, stem, notes)


def named_rows(rows: list[list[str]]) -> str:
    """A line a row: `- Region: North; Revenue: 12`; a first row of words alone has the names."""
    named = len(rows) > 1 and all(any(map(str.isalpha, cell)) for cell in rows[0])
    names = rows[0] if named else []

    def cell(column: int, said: str) -> str:
        return f"{names[column]}: {said}" if column < len(names) else said

    return "\n".join(
        "- " + "; ".join(cell(i, said) for i, said in enumerate(row) if said)
        for row in rows[bool(names) :]
    )
