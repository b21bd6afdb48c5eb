"""CSV and TSV: a line a row, each cell with the name of its column, so that no cut loses it."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Sequence

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.office.tables import are_names, is_caption, named_rows
from rag_app.ingest.plain import Parts

_SAMPLE = 20_000
_CAPTION = 80  # characters


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
    parts = Parts()
    try:
        add_rows(parts, (row for row in csv.reader(io.StringIO(text), form) if any(row)))
    except csv.Error as exc:
        raise ParseFailure("broken", f"not readable as a table: {exc}") from exc
    if not parts.blocks:
        raise ParseFailure("no_text", "the table has no cell with text")
    return parts.document(stem, stem, notes)


def add_rows(parts: Parts, rows: Iterable[Sequence[str]], level: int = 3) -> None:
    """Tables between empty rows; a lone cell at a table's top is its caption.

    Args:
        level: of a caption, which is a heading for what stands below.
    """
    plain = [[" ".join(cell.split()) for cell in row] for row in rows]
    lone = not any(sum(map(bool, row)) > 1 for row in plain)
    names: Sequence[str] = ()
    above: list[str] = []
    for filled, group in itertools.groupby(plain, any):
        table = list(group) if filled else []
        while table and not lone and is_caption(*table[:2]):
            above += filter(None, table.pop(0))
        if not table:
            continue
        for said in above:
            short = len(said) <= _CAPTION and said[-1] not in ".!?" and said == above[0]
            parts.add("heading" if short else "text", said, level)
        names, above = () if above else names, []
        if len(table) > 1 and are_names(table[0]):
            names = table.pop(0)
        parts.add("table", named_rows(names, table))
    parts.add("text", "\n\n".join(above))
