"""Plain text: paragraphs between blank lines, no headings."""

from __future__ import annotations

import re

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import Block, Limits, ParsedDocument

__all__ = ["paragraphs", "parse"]

_PARAGRAPH = re.compile(r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*")


def paragraphs(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Offsets of the stretches between blank lines, trailing blanks left out."""
    stop = len(text) if end is None else end
    return [
        (m.start(), m.start() + len(m[0].rstrip())) for m in _PARAGRAPH.finditer(text, start, stop)
    ]


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a text file; its title is `stem`.

    Raises:
        ParseFailure: not_text, broken.
    """
    decoded, notes = decode(data)
    text = clean(decoded)
    blocks = tuple(Block(kind="text", start=a, end=b) for a, b in paragraphs(text))
    return ParsedDocument(title=stem, text=text, blocks=blocks, notes=notes)
