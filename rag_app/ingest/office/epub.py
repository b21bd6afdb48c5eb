"""Electronic books (.epub): the pages of the archive in reading order, each read as a web page."""

from __future__ import annotations

import posixpath
import urllib.parse
from typing import Any

from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.html import add_page
from rag_app.ingest.office.zipped import opened, title_of
from rag_app.ingest.plain import Parts

_CONTAINER = "META-INF/container.xml"


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a book; the title is its package's, its first heading, or `stem`.

    Raises:
        ParseFailure: broken, wrong_type, encrypted, too_large, no_text.
    """
    parts = Parts()
    notes: dict[str, None] = {}
    with opened(data, "epub", _CONTAINER) as archive:
        package = _xml(archive.read(_CONTAINER)).find(".//{*}rootfile").get("full-path")
        title = title_of(archive, package)
        root = _xml(archive.read(package))
        items = {item.get("id"): item for item in root.iterfind(".//{*}manifest/{*}item")}
        known = set(archive.namelist())
        locked = "META-INF/rights.xml" in known
        for entry in root.iterfind(".//{*}spine/{*}itemref"):
            item = items.get(entry.get("idref"))
            if item is None or "nav" in (item.get("properties") or "").split():
                continue
            name = urllib.parse.unquote(item.get("href", "")).partition("#")[0]
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package), name))
            if name not in known:
                notes[f"page that is not in the book: {name}"] = None
            elif not locked:
                parts.new_page()
                notes.update(dict.fromkeys(add_page(archive.read(name), parts)[1]))
    if locked:
        raise ParseFailure("encrypted", "the book is protected against copying (DRM)")
    if not parts.blocks:
        raise ParseFailure("no_text", "no page of the book has text")
    return parts.document(title, stem, tuple(notes))


def _xml(data: bytes) -> Any:
    import lxml.etree

    return lxml.etree.fromstring(data, lxml.etree.XMLParser(resolve_entities=False))
