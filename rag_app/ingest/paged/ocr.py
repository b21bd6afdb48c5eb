"""Pictures of text, read by tesseract where it is installed."""

from __future__ import annotations

import os
import subprocess

from rag_app.ingest.decode import clean
from rag_app.ingest.document import Block, Limits, ParsedDocument, ParseFailure
from rag_app.ingest.formats import NO_OCR, has_ocr
from rag_app.ingest.plain import paragraphs

_MOST_LANGUAGES = 4  # each one more takes its time on every page


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a picture; its title is `stem`.

    Raises:
        ParseFailure: no_text (no words in it, or no tesseract), broken, timeout.
    """
    if not has_ocr():
        raise ParseFailure("no_text", f"a picture, and {NO_OCR}")
    text = words_of(data, limits.timeout_s)
    if not text:
        raise ParseFailure("no_text", "no words were recognised in the picture")
    blocks = tuple(Block(kind="text", start=a, end=b) for a, b in paragraphs(text))
    return ParsedDocument(title=stem, text=text, blocks=blocks, notes=("read by OCR",))


def words_of(picture: bytes, seconds: float) -> str:
    """The words of a picture, in paragraphs; "" where there are none.

    Raises:
        ParseFailure: broken, timeout.
    """
    try:
        done = subprocess.run(
            ["tesseract", "stdin", "stdout", "-l", _languages()],
            input=picture,
            capture_output=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    except subprocess.TimeoutExpired as exc:
        raise ParseFailure("timeout", f"OCR took longer than {seconds:g} s") from exc
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ParseFailure("broken", f"tesseract: {said[-1] if said else 'failed'}")
    lines = clean(done.stdout.decode("utf-8", "replace")).split("\n")
    # What it takes lines and spots for has neither words nor numbers.
    return "\n".join(x.rstrip() for x in lines if not x.strip() or any(map(str.isalnum, x))).strip()


def _languages() -> str:
    """What tesseract has been given to read, if that is few; else English."""
    listed = subprocess.run(
        ["tesseract", "--list-langs"], capture_output=True, text=True, check=False
    )
    names = [n for n in listed.stdout.splitlines()[1:] if n not in ("osd", "equ")]
    return "+".join(names) if 0 < len(names) <= _MOST_LANGUAGES else "eng"
