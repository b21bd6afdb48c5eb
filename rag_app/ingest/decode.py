"""From bytes to clean text: in which encoding it is, and what is no text."""

from __future__ import annotations

import codecs
import contextlib
import re

from rag_app.ingest.document import ParseFailure

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\ufeff\ufffe\uffff]")
_LINE_END = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL_BYTES = bytes(b for b in range(32) if b not in b"\t\n\r\f") + b"\x7f"
# More control characters than this share, and it is not text. Random bytes have a tenth.
_TOLERATED = 0.02
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*+(?:["']\s*)?([\w.:-]{2,40})""", re.I)
_XML_CHARSET = re.compile(rb"""<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.:-]{2,40})""", re.I)
# What browsers read these labels as (WHATWG's encoding standard), where Python's names say less.
_WHATWG = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
# Of the bytes beyond ASCII, the share that may be wrong in a file that is UTF-8 all the same.
_SPOILT = 0.1


def decode(data: bytes, *, html: bool = False) -> tuple[str, tuple[str, ...]]:
    """Text and notes: a byte-order mark, UTF-8, a page's own charset, else Windows-1252.

    A page's charset is read as browsers read it. A file that is UTF-8 but for few bytes is UTF-8.

    Raises:
        ParseFailure: not_text; broken (a byte-order mark that the rest does not keep).
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(_after_mark(mark, encoding)), ()
            except UnicodeDecodeError as exc:
                raise ParseFailure("broken", f"begins as {encoding}, but is not: {exc}") from exc
    controls = len(data) - len(data.translate(None, _CONTROL_BYTES))
    if controls > _TOLERATED * len(data) + 1:
        raise ParseFailure(
            "not_text",
            f"{controls} of {len(data)} bytes are control characters: binary, or UTF-16 without "
            "a byte-order mark; save it as UTF-8",
        )
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError:
        pass  # legacy encodings follow
    if html and (declared := _CHARSET.search(data[:4096]) or _XML_CHARSET.match(data.lstrip())):
        name = declared[1].decode("ascii").lower().removeprefix("x-").removesuffix("-i")
        with contextlib.suppress(LookupError, UnicodeDecodeError):  # the page misstates its charset
            name = codecs.lookup(name).name
            # Whoever could read the label read no UTF-16.
            if not name.startswith("utf-"):
                return data.decode(_WHATWG.get(name, name)), ()
    mended = data.decode("utf-8", "replace")
    spoilt = mended.count("\ufffd")
    beyond = sum(c > "\x7f" for c in mended)
    if spoilt <= _SPOILT * beyond:
        return mended, (f"{spoilt} bytes are not UTF-8, and are shown as \ufffd",)
    try:
        return data.decode("cp1252"), ("not UTF-8: read as Windows-1252 (Latin-1)",)
    except UnicodeDecodeError:
        return data.decode("latin-1"), ("not UTF-8: read as Latin-1",)


def _after_mark(mark: bytes, encoding: str) -> str:
    if encoding == "utf-8":
        return encoding
    little = mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE)
    return f"{encoding}-{'le' if little else 'be'}"


def clean(text: str) -> str:
    """One kind of line end, no control characters, no lone surrogates."""
    text = _LINE_END.sub("\n", text)
    text = _CONTROL.sub("", text)
    # Not storable and not readable by a tokenizer; PDFs with odd fonts bring them.
    return text.encode("utf-8", "replace").decode("utf-8")
