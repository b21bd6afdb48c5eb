"""The rows of the manifest, as values, and the chunks that they are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecord:
    """What a collection was filled with.

    Attributes:
        embedder, sha256: name and weights of the embedder.
        dimension: length of its vectors.
        chunking: `200/40`: tokens a chunk, and of overlap.
        dirty: whether a writer has begun and not finished.
    """

    name: str
    embedder: str
    sha256: str
    dimension: int
    space: str
    chunking: str
    dirty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRecord:
    """A document as the manifest knows it.

    Attributes:
        id: see `rag_app.index.manifest`.
        source: its path as the user gave it.
        path, found_at: real path, and the path (perhaps a link) it was found at.
        kind: one of `formats.FORMATS`.
        sha256: of the file's bytes when it was read.
        size, mtime_ns: of the file then; mtime_ns is -1 where it was too fresh to be trusted.
        pages: of a PDF, None elsewhere.
        pipeline: version of what made its chunks.
        state: pending, indexed, or failed (never read successfully).
        error: why its newest version could not be read; None where it could.
        name: relative to the folder that was ingested: what readers may see, where the whole
            path is for whoever runs the server. "" where it was ingested before there were names.
    """

    id: str
    source: str
    path: str
    found_at: str
    kind: str
    title: str = ""
    sha256: str = ""
    size: int = 0
    mtime_ns: int = -1
    pages: int | None = None
    pipeline: str = ""
    state: str = "pending"
    error: str | None = None
    chunks: int = 0
    name: str = ""

    @property
    def shown(self) -> str:
        """Its name, or that of its file."""
        return shown_name(self.name, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A passage: an exact slice of its document's text, and where it stands.

    Attributes:
        id: 32 hexadecimal digits, from document, pipeline version and content.
        position: 0-based place among the document's chunks.
        text: `document.text[start:end]`.
        heading: the headings that all of it stands under, outermost first.
        page: 1-based page where it begins; None where there are no pages.
        start, end: character offsets into the document's text.
        prefix: title and headings, which are indexed before the text; "" without.
    """

    id: str
    document_id: str
    position: int
    text: str
    heading: tuple[str, ...]
    page: int | None
    start: int
    end: int
    prefix: str

    def to_row(self) -> list[Any]:
        """Plain data, without what its document has."""
        at = (self.id, self.heading, self.page, self.start, self.end, self.prefix)
        return [*at]

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[Any]], *, document_id: str, text: str) -> list[Chunk]:
        """The inverse of `to_row`, for all chunks of a document with that text."""
        return [
            cls(
                id=identifier,
                document_id=document_id,
                position=position,
                text=text[start:end],
                heading=tuple(heading),
                page=page,
                start=start,
                end=end,
                prefix=prefix,
            )
            for position, (identifier, heading, page, start, end, prefix) in enumerate(rows)
        ]

    @property
    def indexed_text(self) -> str:
        """What is embedded, indexed by BM25, and scored: `prefix + text`."""
        return self.prefix + self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A document to write: its record, its text, its chunks; (offset, page) of each page."""

    document: DocumentRecord
    text: str
    chunks: Sequence[Chunk]
    page_starts: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk with what is shown of its document."""

    id: str
    document_id: str
    position: int
    start: int
    end: int
    heading: tuple[str, ...]
    page: int | None
    body_offset: int
    indexed_text: str
    source: str
    title: str
    page_turns: tuple[tuple[int, int], ...] = ()
    name: str = ""

    @classmethod
    def of_row(cls, row: Sequence[Any], turns: Sequence[Sequence[int]] = ()) -> Passage:
        """Of the manifest's row, its columns in the order of the attributes but `page_turns`."""
        return cls(
            id=row[0],
            document_id=row[1],
            position=row[2],
            start=row[3],
            end=row[4],
            heading=tuple(json.loads(row[5])),
            page=row[6],
            body_offset=row[7],
            indexed_text=row[8],
            source=row[9],
            title=row[10],
            name=row[11],
            page_turns=tuple((start, page) for start, page in turns),
        )

    def metadata(self) -> dict[str, Any]:
        """What goes with the text wherever the passage goes; `page` only where there are pages.

        `page_turns` has [offset, page] of each further page that the passage goes on over.
        """
        found: dict[str, Any] = {
            "source": self.source,
            "name": shown_name(self.name, self.source),
            "title": self.title,
            "heading": " > ".join(self.heading),
            "start": self.start,
            "end": self.end,
            "body_offset": self.body_offset,
            "document_id": self.document_id,
            "chunk_id": self.id,
            "position": self.position,
        }
        if self.page is not None:
            found["page"] = self.page
        if self.page_turns:
            found["page_turns"] = [list(turn) for turn in self.page_turns]
        return found


def shown_name(name: str, path: str) -> str:
    """The name relative to the ingested folder; the file's own where none is known."""
    return name or PurePosixPath(path).name


def chunk_row(collection: str, c: Chunk) -> tuple[Any, ...]:
    """A chunk as the manifest's row."""
    heading = json.dumps(c.heading, ensure_ascii=False)
    return (
        *(collection, c.id, c.document_id, c.position, c.start, c.end, heading),
        *(c.page, len(c.prefix), c.indexed_text),
    )
