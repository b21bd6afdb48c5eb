"""HTML: the page's content without its navigation, as text with Markdown's headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rag_app.ingest.decode import clean, decode
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.markdown import scan

__all__ = ["parse", "text_of_html"]

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.I | re.S)
_BLOCKS = frozenset("p div section article blockquote dd dt figcaption address main".split())
_IGNORED = frozenset("script style noscript template head nav svg iframe form button".split())
_SCRIPT = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>", re.I | re.S)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a web page; the title is the page's, its first heading, or `stem`.

    Raises:
        ParseFailure: not_text, broken, no_text.
    """
    import trafilatura

    decoded, notes = decode(data, html=True)
    # The encoding is settled; lxml refuses a string that declares one.
    page = _DECLARATION.sub("", clean(decoded))
    # Where it finds no content at all, the extractor takes scripts for it.
    page = _SCRIPT.sub("", page)
    text = trafilatura.extract(
        page,
        output_format="markdown",
        include_tables=True,
        include_comments=False,
        include_links=False,
        include_images=False,
        favor_recall=True,
    )
    if not text or not text.strip():
        # Too short or too odd for the extractor: everything that is not a script is content.
        text = text_of_html(page)
    text = clean(text)
    if not text.strip():
        raise ParseFailure("no_text", "the page has no text of its own (built by a script?)")
    blocks = scan(text)
    title = _title(page) or next((b.heading[-1] for b in blocks if b.kind == "heading"), stem)
    return ParsedDocument(title=title, text=text, blocks=blocks, notes=notes)


def _title(page: str) -> str | None:
    import html

    found = _TITLE.search(page)
    if found is None:
        return None
    return re.sub(r"\s+", " ", html.unescape(found[1])).strip() or None


def text_of_html(page: str) -> str:
    """All of a page's text, with Markdown's marks for headings, lists, tables and code.

    Raises:
        ParseFailure: broken: no HTML parser makes anything of it.
    """
    import lxml.etree
    import lxml.html

    try:
        root = lxml.html.document_fromstring(page)
    except (lxml.etree.LxmlError, ValueError) as exc:
        raise ParseFailure("broken", f"not readable as HTML: {exc}") from exc
    parts = (part.strip("\n") for part in _parts(root))
    return "\n\n".join(part for part in parts if part.strip())


def _parts(element: Any) -> Iterator[str]:
    """Paragraphs, headings, list items, tables and code of an element, in order."""
    inline = element.text or ""
    for child in element:
        tag = child.tag if isinstance(child.tag, str) else ""
        if not tag or tag in _IGNORED:
            inline += child.tail or ""
            continue
        found = _block(child, tag)
        if found is None:
            if any(isinstance(c.tag, str) and _is_block(c.tag) for c in child.iter()):
                yield _words(inline)
                inline = ""
                yield from _parts(child)
            else:
                inline += "\n" if tag == "br" else " ".join(child.itertext())
        else:
            yield _words(inline)
            inline = ""
            yield from found
        inline += child.tail or ""
    yield _words(inline)


def _is_block(tag: str) -> bool:
    return tag in _BLOCKS or tag in ("ul", "ol", "table", "pre") or bool(re.match(r"h[1-6]$", tag))


def _block(child: Any, tag: str) -> Iterator[str] | None:
    if re.match(r"h[1-6]$", tag):
        words = _words("".join(child.itertext()))
        return iter([f"{'#' * int(tag[1])} {words}" if words else ""])
    if tag == "pre":
        return iter([f"```\n{''.join(child.itertext()).strip(chr(10))}\n```"])
    if tag == "table":
        return iter([_table(child)])
    if tag in ("ul", "ol"):
        items = (_words(" ".join(li.itertext())) for li in child.iter("li"))
        return iter(["\n".join(f"- {item}" for item in items if item)])
    return _parts(child) if tag in _BLOCKS else None


def _table(table: Any) -> str:
    rows = [
        [_words(" ".join(cell.itertext())).replace("|", "\\|") for cell in row.iter("td", "th")]
        for row in table.iter("tr")
    ]
    rows = [row for row in rows if any(row)]
    if not rows:
        return ""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
