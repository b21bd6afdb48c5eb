"""Word documents: mammoth turns styles into headings, and the result is read like a page."""

from __future__ import annotations

import io
import re
import zipfile

from rag_app.ingest.decode import clean
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.html import collect, read_tree
from rag_app.ingest.office.zipped import opened, title_of
from rag_app.ingest.plain import Parts

_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
"""
_REFERRING = (
    "footnoteReference", "endnoteReference", "commentReference", "drawing", "pict", "object",
)  # fmt: skip


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a .docx; the title is its properties', its first heading, or `stem`.

    Raises:
        ParseFailure: broken, wrong_type (another ZIP), too_large (a bomb), no_text.
    """
    notes: tuple[str, ...] = ()
    with opened(data, "docx", "word/document.xml") as archive:
        own_title = title_of(archive)
        beside = _beside(archive)
        try:
            page = _page(data)
        except KeyError:
            # A reference to a note, link or picture that is not there is no loss of text.
            page = _page(_without_references(data))
            notes = ("damaged: its notes, links and pictures were left out",)
    parts = Parts()
    if page.strip():
        collect(read_tree(clean(page)), parts, leave_out=False)
    for said in beside:
        if not parts.has(said):
            parts.add("text", said)
    if not parts.blocks:
        raise ParseFailure("no_text", "the document has no text (pictures of text? run OCR)")
    return parts.document(own_title, stem, notes)


def _beside(archive: zipfile.ZipFile) -> list[str]:
    """What stands in headers, footers and text boxes, each once."""
    import lxml.etree

    found: dict[str, None] = {}
    for name in sorted(archive.namelist()):
        part = re.fullmatch(r"word/(document|header\d*|footer\d*)\.xml", name)
        if part is None:
            continue
        parser = lxml.etree.XMLParser(resolve_entities=False, huge_tree=False)
        root = lxml.etree.fromstring(archive.read(name), parser)
        boxes = root.iter("{*}txbxContent") if part[1] == "document" else [root]
        for paragraph in (p for box in boxes for p in box.iter("{*}p")):
            said = " ".join("".join(t.text or "" for t in paragraph.iter("{*}t")).split())
            if re.search(r"[^\W\d_]{2}", said):
                found[said] = None
    return list(found)


def _page(data: bytes) -> str:
    import mammoth

    page: str = mammoth.convert_to_html(
        io.BytesIO(data),
        style_map=_STYLES,
        # Pictures would come along as base64.
        convert_image=mammoth.images.img_element(lambda image: {}),
    ).value
    return page


def _without_references(data: bytes) -> bytes:
    """The document with nothing in it that points to another part."""
    import lxml.etree

    found = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as archive,
        zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as mended,
    ):
        for entry in archive.infolist():
            body = archive.read(entry)
            if entry.filename == "word/document.xml":
                root = lxml.etree.fromstring(body, lxml.etree.XMLParser(resolve_entities=False))
                lxml.etree.strip_elements(root, *(f"{{*}}{n}" for n in _REFERRING), with_tail=False)
                lxml.etree.strip_tags(root, "{*}hyperlink")
                body = lxml.etree.tostring(root)
            mended.writestr(entry, body)
    return found.getvalue()
