"""The formats that are read, in one table: endings, parser, its libraries, and how files begin."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from rag_app.ingest.document import ParseFailure

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_PICTURES = (
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"BM", "a BMP image"),
)
_MAGIC = (
    (_ZIP, "a ZIP archive or Office document"),
    (_OLE, "an old or encrypted Office document"),
    *_PICTURES[:3],
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
NO_OCR = "no tesseract is installed, which reads pictures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of file.

    Attributes:
        endings: of its names.
        parser: module with `parse`; imported by the parser process alone.
        libraries: what that loads in its own body, loaded before a file's clock starts.
        magic: what its files begin with; none: they are text.
    """

    endings: tuple[str, ...]
    parser: str
    libraries: tuple[str, ...] = ()
    magic: tuple[bytes, ...] = ()


def _office(ending: str, parser: str, *libraries: str) -> Format:
    return Format(endings=(ending,), parser=f"office.{parser}", libraries=libraries, magic=(_ZIP,))


FORMATS = {
    "md": Format(endings=(".md", ".markdown"), parser="markdown"),
    "txt": Format(endings=(".txt", ".text"), parser="plain"),
    "html": Format(endings=(".html", ".htm", ".xhtml"), parser="html", libraries=("lxml.html",)),
    "pdf": Format(
        endings=(".pdf",), parser="paged.pdf", libraries=("pypdfium2",), magic=(b"%PDF-",)
    ),
    "docx": _office(".docx", "docx", "mammoth", "lxml.html"),
    "xlsx": _office(".xlsx", "sheets", "openpyxl"),
    "pptx": _office(".pptx", "slides", "pptx"),
    "epub": _office(".epub", "epub", "lxml.html"),
    "rtf": Format(endings=(".rtf",), parser="office.rtf", libraries=("striprtf.striprtf",)),
    "csv": Format(endings=(".csv", ".tsv"), parser="office.rows"),
    "json": Format(endings=(".json", ".jsonl"), parser="office.records"),
    "eml": Format(endings=(".eml",), parser="office.mail", libraries=("lxml.html",)),
    "picture": Format(
        endings=(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"),
        parser="paged.ocr",
        magic=tuple(magic for magic, _ in _PICTURES),
    ),
}
KINDS = {ending: kind for kind, form in FORMATS.items() for ending in form.endings}


def has_ocr() -> bool:
    """Whether the words of pictures can be read here."""
    return shutil.which("tesseract") is not None


def check_type(kind: str, data: bytes) -> None:
    """Compare what the file's name promises with how its bytes begin.

    Raises:
        ParseFailure: empty, wrong_type, encrypted (an Office file in its encrypted wrapper).
    """
    if not data.strip():
        raise ParseFailure("empty", "the file has no content")
    magic = FORMATS[kind].magic
    is_pdf = b"%PDF-" in data[:1024]
    if (is_pdf and kind == "pdf") or (kind != "pdf" and magic and data.startswith(magic)):
        return
    found = next((w for m, w in _MAGIC if data.startswith(m)), None)
    if data.startswith(b"%PDF-") or (is_pdf and magic):  # a text may mention %PDF-
        found = "a PDF"
    if magic == (_ZIP,) and data.startswith(_OLE):
        raise ParseFailure(
            "encrypted", f"password-protected, or of an old format; save it as a plain .{kind}"
        )
    if magic or found:
        none = "no PDF" if kind == "pdf" else f"no {kind} file"
        raise ParseFailure("wrong_type", f"named .{kind}, but it is {found or none}")
