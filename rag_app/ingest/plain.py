"""Plain text: paragraphs between blank lines; and text that other parsers put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import (
    MAX_HEADING,
    Block,
    BlockKind,
    Limits,
    ParsedDocument,
    ParseFailure,
)

_MOST = 200_000
_HYPHENS = {0x2010: "-", 0x2011: "-"}  # whoever asks types the one of the keyboard


@dataclass(slots=True)
class Parts:
    """The text and its blocks, as they are collected."""

    blocks: list[Block] = field(default_factory=list)
    _path: list[tuple[int, str]] = field(default_factory=list)
    _pieces: list[str] = field(default_factory=list)
    _length: int = 0

    def add(self, kind: BlockKind, body: str, level: int = 0) -> None:
        """A paragraph, a fence, a table, or a heading of that level."""
        body = clean(body).translate(_HYPHENS).strip("\n").rstrip()
        if not body.strip():
            return
        if kind == "heading" and len(body) > MAX_HEADING:
            kind = "text"
        if kind == "heading":
            while self._path and self._path[-1][0] >= level:
                self._path.pop()
            self._path.append((level, body))
            body = f"{'#' * level} {body}"
        if self._pieces:
            self._pieces.append("\n\n")
            self._length += 2
        self.blocks.append(
            Block(
                kind=kind,
                start=self._length,
                end=self._length + len(body),
                heading=tuple(title for _, title in self._path),
            )
        )
        self._pieces.append(body)
        self._length += len(body)

    def has(self, said: str) -> bool:
        """Whether these words stand somewhere already."""
        return any(said in piece for piece in self._pieces)

    def new_page(self) -> None:
        """What comes next stands under no heading of what came before."""
        self._path.clear()

    def document(self, title: str | None, stem: str, notes: tuple[str, ...]) -> ParsedDocument:
        """All of it; the title is the given one, the first heading, or `stem`."""
        first = next((b.heading[-1] for b in self.blocks if b.kind == "heading"), stem)
        return ParsedDocument(
            title=title or first,
            text="".join(self._pieces),
            blocks=tuple(self.blocks),
            notes=notes,
        )


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
