"""Word documents: mammoth turns styles into headings, and the result is read like a page."""

from __future__ import annotations

import io
import re
import zipfile

from rag_app.ingest.decode import clean
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.html import text_of_html
from rag_app.ingest.markdown import scan

__all__ = ["parse"]

_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
"""
# Text of a real document inflates about tenfold; a bomb, a thousandfold.
_INFLATION = 20
_ALWAYS_FINE = 64 * 2**20
_CORE_TITLE = re.compile(r"<dc:title[^>]*>(.*?)</dc:title>", re.S)


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a .docx; the title is its properties', its first heading, or `stem`.

    Raises:
        ParseFailure: broken, wrong_type (another ZIP), too_large (a bomb), no_text.
    """
    import mammoth

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            own_title = _inspect(archive, len(data))
        page = mammoth.convert_to_html(
            io.BytesIO(data),
            style_map=_STYLES,
            # Pictures would come along as base64.
            convert_image=mammoth.images.img_element(lambda image: {}),
        ).value
    except ParseFailure:
        raise
    except MemoryError:
        raise
    except Exception as exc:  # zip, XML and mammoth each have their own tree of errors
        raise ParseFailure("broken", f"not a readable .docx: {type(exc).__name__}: {exc}") from exc
    text = clean(text_of_html(page)) if page.strip() else ""
    if not text.strip():
        raise ParseFailure("no_text", "the document has no text (pictures of text? run OCR)")
    blocks = scan(text)
    title = own_title or next((b.heading[-1] for b in blocks if b.kind == "heading"), stem)
    return ParsedDocument(title=title, text=text, blocks=blocks)


def _inspect(archive: zipfile.ZipFile, size: int) -> str | None:
    """Refuse what would inflate beyond reason; the title from the properties."""
    names = set(archive.namelist())
    if "word/document.xml" not in names:
        raise ParseFailure("wrong_type", "named .docx, but it is a ZIP archive of something else")
    inflated = sum(entry.file_size for entry in archive.infolist())
    # zipfile reads no entry beyond the size it declares, so the declared sum is a bound.
    if inflated > max(_ALWAYS_FINE, _INFLATION * size):
        raise ParseFailure(
            "too_large",
            f"it would inflate from {size:,} to {inflated:,} bytes, which no real document does",
        )
    if "docProps/core.xml" not in names:
        return None
    import html

    found = _CORE_TITLE.search(archive.read("docProps/core.xml").decode("utf-8", "replace"))
    title = re.sub(r"\s+", " ", clean(html.unescape(found[1]))).strip() if found else ""
    # python-docx writes this into every document that was given no title.
    return title if title and title != "Word Document" else None
