"""Rich text (.rtf): its paragraphs, and the rows of its tables."""

from __future__ import annotations

import itertools
import re

from rag_app.ingest.decode import clean
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.office.rows import add_rows
from rag_app.ingest.plain import Parts

_TITLE = re.compile(r"\{\\title\s([^{}\\]{1,300})\}")


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a rich text; the title is its properties', or `stem`.

    Raises:
        ParseFailure: wrong_type, broken, no_text.
    """
    from striprtf.striprtf import rtf_to_text

    written = data.decode("latin-1")  # its own codes say what is not ASCII
    if not written.lstrip().startswith("{\\rtf"):
        raise ParseFailure("wrong_type", "named .rtf, but it does not begin as rich text")
    try:
        text = clean(rtf_to_text(written, errors="replace"))
    except (ValueError, LookupError, IndexError) as exc:
        # What unknown code pages and odd escapes make the library raise.
        raise ParseFailure("broken", f"not a readable .rtf: {type(exc).__name__}: {exc}") from exc
    parts = Parts()
    for is_row, group in itertools.groupby(text.split("\n"), lambda x: x.rstrip().endswith("|")):
        if is_row:
            add_rows(parts, ([c.strip() for c in x.rstrip()[:-1].split("|")] for x in group))
        else:
            for said in group:  # a line is a paragraph
                parts.add("text", said)
    if not parts.blocks:
        raise ParseFailure("no_text", "the document has no text")
    title = _TITLE.search(written)
    return parts.document(title[1].strip() if title else stem, stem, ())
