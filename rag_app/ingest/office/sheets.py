"""Spreadsheets (.xlsx): each sheet's rows with the names of their columns, as they are shown."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Iterator
from typing import Any

from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.office.rows import add_rows
from rag_app.ingest.office.zipped import opened, title_of
from rag_app.ingest.plain import Parts

_UNIT = re.compile(r"\[\$([^\[\]-]+)(?:-\w+)?\]|\"([^\"]+)\"|([\u20ac$\u00a3\u00a5])")
_UNCOMPUTED = re.compile(rb"</f>(?:<v\s?/>|<v></v>)?</c>")


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a spreadsheet; the title is its properties', or `stem`.

    Raises:
        ParseFailure: broken, wrong_type, too_large, no_text.
    """
    import openpyxl

    parts, notes = Parts(), []
    with opened(data, "xlsx", "xl/workbook.xml") as archive:
        title = title_of(archive)
        computed = [
            len(_UNCOMPUTED.findall(archive.read(name)))
            for name in archive.namelist()
            if name.startswith("xl/worksheets/")
        ]
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        for sheet in book.worksheets:
            if sheet.sheet_state != "visible":
                notes.append(f"hidden sheet not read: {sheet.title}")
                continue
            sheet.reset_dimensions()  # what a sheet says of its size may be a million rows
            if len(book.worksheets) > 1:
                parts.add("heading", sheet.title, 2)
            add_rows(parts, _rows(sheet))
        book.close()
    if sum(computed):
        notes.append(f"{sum(computed)} formulas have no result: open it once and save it")
    if all(block.kind == "heading" for block in parts.blocks):
        raise ParseFailure("no_text", "no sheet has a cell with text")
    return parts.document(title or stem, stem, tuple(notes))


def _rows(sheet: Any) -> Iterator[list[str]]:
    for row in sheet.iter_rows():
        yield [_shown(cell.value, getattr(cell, "number_format", None) or "") for cell in row]


def _shown(value: Any, form: str) -> str:
    """A cell as its program shows it: with its unit, its decimals, its date."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        day = value.time() == datetime.time()
        return value.date().isoformat() if day else value.isoformat(" ", "minutes")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    form = form.split(";")[0]
    decimals = re.search(r"0\.(0+)", form)
    places = len(decimals[1]) if decimals else 0
    if "%" in form:
        return f"{100 * value:.{places}f}%"
    if re.search(r"[0#]", form):
        said = f"{value:{',' if ',' in form else ''}.{places}f}"
    else:
        said = f"{value:.12g}" if isinstance(value, float) else str(value)
    unit = _UNIT.search(form)
    if unit is None:
        return said
    name = next(filter(None, unit.groups())).strip()
    return f"{name} {said}" if unit.start() < form.index("0") else f"{said} {name}"
