"""What a parser hands over: one string, and blocks that point into it.

This module and the parsers are imported by the parser process, which lives under a memory
limit: they import neither the engine nor numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

BlockKind = Literal["heading", "text", "code", "table"]
MAX_HEADING = 300
"""Characters of a heading; what is longer is a paragraph, which every passage below repeated."""


class ParseFailure(Exception):
    """A file cannot be read; crosses the process border as `rag_app.errors.ParseError`."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may cost.

    Attributes:
        max_bytes: size of the file, and of the text that comes out of it (characters).
        timeout_s: wall-clock seconds.
        memory_mb: address space of the parser process.
        max_passages: that it is cut into, each of which has to be embedded.
    """

    max_bytes: int
    max_pages: int
    timeout_s: float
    memory_mb: int
    max_passages: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A stretch of the text: a heading line, a paragraph, a code fence or a table.

    Attributes:
        start, end: character offsets into `ParsedDocument.text`; no blank at either end.
        heading: the headings that it stands under, outermost first; a heading includes itself.
        page: 1-based page of a PDF, None elsewhere.
    """

    kind: BlockKind
    start: int
    end: int
    heading: tuple[str, ...] = ()
    page: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """One file, read.

    Attributes:
        title: the document's own title, or the file's name without its ending.
        text: everything that was read, as one string.
        blocks: in order, not overlapping; what is in none of them (front matter) is not indexed.
        pages: number of pages of a PDF, None elsewhere.
        notes: what the user should know, such as an encoding that had to be guessed.
        sha256: of the file's bytes, as they were read.
        size: of the file, bytes.
    """

    title: str
    text: str
    blocks: tuple[Block, ...]
    pages: int | None = None
    notes: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0

    @property
    def page_starts(self) -> list[tuple[int, int]]:
        """(offset, page) where the text of each page begins; empty where there are no pages."""
        starts: list[tuple[int, int]] = []
        for block in self.blocks:
            if block.page is not None and (not starts or starts[-1][1] != block.page):
                starts.append((block.start, block.page))
        return starts

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back to an equal document."""
        return {
            "title": self.title,
            "text": self.text,
            "blocks": [[b.kind, b.start, b.end, list(b.heading), b.page] for b in self.blocks],
            "pages": self.pages,
            "notes": list(self.notes),
            "sha256": self.sha256,
            "size": self.size,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ParsedDocument:
        """The inverse of `to_dict`."""
        return cls(
            title=data["title"],
            text=data["text"],
            blocks=tuple(
                Block(
                    kind=cast(BlockKind, kind),
                    start=start,
                    end=end,
                    heading=tuple(heading),
                    page=page,
                )
                for kind, start, end, heading, page in data["blocks"]
            ),
            pages=data["pages"],
            notes=tuple(data["notes"]),
            sha256=data["sha256"],
            size=data["size"],
        )
