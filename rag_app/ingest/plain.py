"""Plain text: paragraphs between blank lines, no headings."""

from __future__ import annotations

from collections.abc import Iterator

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import Block, Limits, ParsedDocument, ParseFailure

_MOST = 200_000


def paragraphs(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Offsets of the stretches between blank lines, trailing blanks left out.

    Raises:
        ParseFailure: too_large: more of them than any document has.
    """
    found: list[tuple[int, int]] = []
    open_at: int | None = None
    for begin, stop in lines(text, start, len(text) if end is None else end):
        stripped = text[begin:stop].rstrip()
        if not stripped:
            open_at = None
        elif open_at is None:
            open_at = begin
            found.append((begin, begin + len(stripped)))
        else:
            found[-1] = (open_at, begin + len(stripped))
        if len(found) > _MOST:
            raise ParseFailure("too_large", f"more than {_MOST:,} paragraphs")
    return found


def lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Offsets of each line, line ends left out."""
    while start <= end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        yield start, stop
        start = stop + 1


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a text file; its title is `stem`.

    Raises:
        ParseFailure: not_text, broken, too_large.
    """
    decoded, notes = decode(data)
    text = clean(decoded)
    blocks = tuple(Block(kind="text", start=a, end=b) for a, b in paragraphs(text))
    return ParsedDocument(title=stem, text=text, blocks=blocks, notes=notes)
