"""Presentations (.pptx): each slide under its title, with its points, tables, charts and notes."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.office.tables import named_rows, pipe_table
from rag_app.ingest.office.zipped import opened, title_of
from rag_app.ingest.plain import Parts

# Placeholders that stand on every slide: date, footer, number.
_REPEATED = (13, 15, 16)


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a presentation; the title is its properties', its first slide's, or `stem`.

    Raises:
        ParseFailure: broken, wrong_type, too_large, no_text.
    """
    import pptx

    parts = Parts()
    with opened(data, "pptx", "ppt/presentation.xml") as archive:
        title = title_of(archive)
        for number, slide in enumerate(pptx.Presentation(io.BytesIO(data)).slides, start=1):
            head = slide.shapes.title
            said = " ".join(head.text_frame.text.split()) if head is not None else ""
            parts.add("heading", said or f"Slide {number}", 2)
            _shapes(parts, (s for s in slide.shapes if s != head))
            if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
                notes = slide.notes_slide.notes_text_frame.text
                parts.add("text", f"Notes: {notes}" if notes.strip() else "")
    if all(block.kind == "heading" for block in parts.blocks):
        raise ParseFailure("no_text", "no slide has text (pictures of text?)")
    return parts.document(title, stem, ())


def _shapes(parts: Parts, shapes: Iterable[Any]) -> None:
    """In reading order: from the top to the bottom, and from the left to the right."""
    for shape in sorted(shapes, key=lambda s: (s.top or 0, s.left or 0)):
        if shape.is_placeholder and shape.placeholder_format.type in _REPEATED:
            continue
        if hasattr(shape, "shapes"):
            _shapes(parts, shape.shapes)
        elif getattr(shape, "has_table", False):
            cells = [[" ".join(c.text.split()) for c in row.cells] for row in shape.table.rows]
            parts.add("table", pipe_table(cells))
        elif getattr(shape, "has_chart", False):
            _chart(parts, shape.chart)
        elif shape.has_text_frame:
            points = [(p.level, p.text.replace("\v", " ")) for p in shape.text_frame.paragraphs]
            points = [(level, said) for level, said in points if said.strip()]
            mark = "- " if len(points) > 1 else ""
            parts.add("text", "\n".join(f"{'  ' * level}{mark}{said}" for level, said in points))


def _chart(parts: Parts, chart: Any) -> None:
    if chart.has_title and chart.chart_title.has_text_frame:
        parts.add("text", chart.chart_title.text_frame.text)
    for plot in chart.plots:
        series = list(plot.series)
        values = zip(*(s.values for s in series), strict=False)
        rows = [
            [str(category), *("" if v is None else f"{v:g}" for v in row)]
            for category, row in zip(plot.categories, values, strict=False)
        ]
        parts.add("table", named_rows(["", *(s.name for s in series)], rows))
