"""CSV and TSV: a line a row, each cell with the name of its column, so that no cut loses it."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Sequence

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.html import Parts

_SAMPLE = 20_000
_CAPTION = 80  # characters
_YEAR = re.compile(r"(?:19|20)\d\d")


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
        while table and not lone and _is_caption(*table[:2]):
            above += filter(None, table.pop(0))
        if not table:
            continue
        for said in above:
            short = len(said) <= _CAPTION and said[-1] not in ".!?" and said == above[0]
            parts.add("heading" if short else "text", said, level)
        names, above = () if above else names, []
        if len(table) > 1 and _are_names(table[0]):
            names = table.pop(0)
        parts.add("table", named_rows(names, table))
    parts.add("text", "\n\n".join(above))


def named_rows(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A line a row: `- Region: North; Revenue: 12`."""
    named = [f"{name}: " if name else "" for name in names]
    return "\n".join(
        "- " + "; ".join(f"{n}{c}" for n, c in itertools.zip_longest(named, row, fillvalue="") if c)
        for row in rows
    )


def _is_caption(row: Sequence[str], below: Sequence[str] = ()) -> bool:
    """Whether it is one cell, no further right than what comes below."""
    filled = [i for i, cell in enumerate(row) if cell]
    first = next((i for i, cell in enumerate(below) if cell), len(row))
    return len(filled) == 1 and filled[0] <= first


def _are_names(row: Sequence[str]) -> bool:
    """Whether a first row names the columns: words, or years one after another."""
    years = [int(cell) for cell in row if _YEAR.fullmatch(cell)]
    steps = {b - a for a, b in itertools.pairwise(years)}
    others = [cell for cell in row[1:] if not _YEAR.fullmatch(cell)]
    return (
        all(any(map(str.isalpha, cell)) for cell in others)
        and (not row[0] or any(map(str.isalpha, row[0])))
        and not row[0].endswith(":")
        and (not years or steps in ({1}, {-1}) or not row[0])
    )
