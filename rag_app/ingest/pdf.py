"""PDF: the text of each page, its number, and the headings that its outline names."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from rag_app.ingest.decode import clean
from rag_app.ingest.document import Block, Limits, ParsedDocument, ParseFailure
from rag_app.ingest.plain import paragraphs

if TYPE_CHECKING:
    from pypdf import PdfReader

__all__ = ["parse"]

_LIGATURES = str.maketrans(
    {
        "\ufb00": "ff",
        "\ufb01": "fi",
        "\ufb02": "fl",
        "\ufb03": "ffi",
        "\ufb04": "ffl",
        "\ufb05": "st",
        "\ufb06": "st",
    }
)
# A word that the typesetter broke: without this neither BM25 nor the encoder knows it.
_BROKEN_WORD = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
_TAIL = 64 * 1024


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a PDF; the title is its properties' or `stem`.

    Raises:
        ParseFailure: broken, encrypted, too_many_pages, no_text (a scan).
    """
    import pypdf
    from pypdf.errors import PyPdfError

    if b"%%EOF" not in data[-_TAIL:]:
        # pypdf would mend it and silently give fewer pages.
        raise ParseFailure("broken", "the end of the PDF is missing (cut off while copying?)")
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        # Many PDFs are encrypted with an empty password, only to forbid printing.
        if reader.is_encrypted and not reader.decrypt(""):
            raise ParseFailure("encrypted", "password-protected; save a copy without password")
        count = len(reader.pages)
        if count > limits.max_pages:
            raise ParseFailure(
                "too_many_pages", f"{count} pages, allowed are {limits.max_pages} (max_pages)"
            )
        pages = _pages(reader, limits)
        outline = _outline(reader)
        own_title = reader.metadata.title if reader.metadata is not None else None
    except ParseFailure:
        raise
    except (MemoryError, RecursionError):
        raise
    except PyPdfError as exc:
        raise ParseFailure("broken", f"not a readable PDF: {exc}") from exc
    except Exception as exc:  # a malformed object surfaces as whatever Python makes of it
        raise ParseFailure("broken", f"not a readable PDF: {type(exc).__name__}: {exc}") from exc
    if not any(page.strip() for page in pages):
        raise ParseFailure("no_text", "no page has text: a scan? Run OCR on it first")
    title = re.sub(r"\s+", " ", clean(own_title or "")).strip() or stem
    return _assemble(pages, outline, title)


def _pages(reader: PdfReader, limits: Limits) -> list[str]:
    pages, total = [], 0
    for page in reader.pages:
        text = clean(page.extract_text()).translate(_LIGATURES)
        text = _BROKEN_WORD.sub("", text).strip("\n")
        total += len(text)
        if total > limits.max_bytes:
            raise ParseFailure("too_large", f"more than {limits.max_bytes:,} characters of text")
        pages.append(text)
    return pages


def _outline(reader: PdfReader) -> list[tuple[int, int, str]]:
    """(page index, depth, title) of each bookmark, in order; empty where it is unreadable."""
    found: list[tuple[int, int, str]] = []

    def walk(items: Any, depth: int) -> None:
        for item in items:
            if isinstance(item, list):
                walk(item, depth + 1)
                continue
            number = reader.get_destination_page_number(item)
            title = re.sub(r"\s+", " ", clean(str(item.title))).strip()
            if number is not None and number >= 0 and title:
                found.append((number, depth, title))

    try:
        walk(reader.outline, 0)
    except Exception:  # bookmarks are an extra: whatever is wrong with them costs no text
        return []
    return found


def _assemble(pages: list[str], outline: list[tuple[int, int, str]], title: str) -> ParsedDocument:
    """Join the pages, and cut them where a bookmark's title stands as a line."""
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    text, notes = "", []
    for index, page in enumerate(pages):
        base = len(text) + (2 if text and page else 0)
        text += ("\n\n" if text and page else "") + page
        at = base
        for depth, name in [(d, t) for number, d, t in outline if number == index]:
            line = _line_of(page, name, at - base)
            if line is not None:
                _add(blocks, text, at, base + line[0], path, index)
                at = base + line[1]
            while path and path[-1][0] >= depth:
                path.pop()
            path.append((depth, name))
            if line is not None:
                heading = tuple(n for _, n in path)
                blocks.append(
                    Block(
                        kind="heading",
                        start=base + line[0],
                        end=base + line[1],
                        heading=heading,
                        page=index + 1,
                    )
                )
        _add(blocks, text, at, len(text), path, index)
    empty = sum(not page.strip() for page in pages)
    if empty:
        notes.append(f"{empty} of {len(pages)} pages have no text (scanned or blank)")
    return ParsedDocument(
        title=title, text=text, blocks=tuple(blocks), pages=len(pages), notes=tuple(notes)
    )


def _add(
    blocks: list[Block], text: str, start: int, end: int, path: list[tuple[int, str]], index: int
) -> None:
    heading = tuple(name for _, name in path)
    blocks += [
        Block(kind="text", start=a, end=b, heading=heading, page=index + 1)
        for a, b in paragraphs(text, start, end)
    ]


def _line_of(page: str, title: str, start: int) -> tuple[int, int] | None:
    """Where the title stands as whole lines of the page."""
    words = r"\s+".join(re.escape(word) for word in title.split())
    found = re.compile(rf"^[ \t\d.]*{words}[ \t]*$", re.M | re.I).search(page, start)
    return None if found is None else (found.start(), found.end())
