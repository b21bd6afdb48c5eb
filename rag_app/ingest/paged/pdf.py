"""PDF: the lines of each page with their place and size, and what these say: headings, paragraphs.

Pdfium reads; what a line is follows from where it stands. Lines that stand at the edge of most
pages are running heads, a larger or bolder line is a heading where no outline names them, and a
gap ends a paragraph. Reference lists are left out: they match many questions and answer none.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rag_app.ingest.decode import clean
from rag_app.ingest.document import MAX_HEADING, Block, Limits, ParsedDocument, ParseFailure
from rag_app.ingest.formats import NO_OCR, has_ocr
from rag_app.ingest.paged.lines import Line, cells, content, table
from rag_app.ingest.paged.ocr import words_of

_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl",
     "\ufb05": "st", "\ufb06": "st"}
)  # fmt: skip
_LARGER = 1.12  # than the body's letters, and a line may be a heading
_GAP = 1.45  # of the usual distance between two lines, from which on a paragraph ends
_LEVELS = 4
_COLUMN = 3  # letters' widths that columns of a table are apart
_REFERENCES = re.compile(
    r"(?:\d{1,2}\.?\s)?(?:references|bibliography|works cited|literature cited|literatur"
    r"(?:verzeichnis)?)\.?",
    re.I,
)
_NUMBERED = re.compile(r"(\d{1,2}(?:\.\d{1,2}){0,3})\.?\s{1,4}[^\W\d_]")
_NO_TITLE = re.compile(r"untitled|microsoft word|\.(?:docx?|dvi|tex|indd|pdf|qxd|pptx?)$", re.I)
_OCR_DOTS = 200 / 72  # a point
_OCR_SIDE = 4000  # dots
_OCR_SHARE = 0.7  # of the file's time


def parse(data: bytes, *, stem: str, limits: Limits) -> ParsedDocument:
    """Read a PDF; the title is its properties', its first page's largest line, or `stem`.

    Raises:
        ParseFailure: broken, encrypted, too_many_pages, too_large, no_text (a scan).
    """
    import pypdfium2 as pdfium

    last = data.rfind(b"%%EOF")
    if last < 0 or b" obj" in data[last:]:
        # The reader would mend it and silently give fewer pages.
        raise ParseFailure("broken", "the end of the PDF is missing (cut off while copying?)")
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as exc:
        if "password" in str(exc).casefold() or "security" in str(exc).casefold():
            raise ParseFailure(
                "encrypted", "password-protected; save a copy without password"
            ) from exc
        raise ParseFailure("broken", f"not a readable PDF: {exc}") from exc
    try:
        count = len(document)
        if count > limits.max_pages:
            raise ParseFailure(
                "too_many_pages", f"{count} pages, allowed are {limits.max_pages} (max_pages)"
            )
        pages, notes = _pages(document, limits)
        outline = _outline(document)
        own_title = " ".join(clean(document.get_metadata_value("Title")).split())
    except pdfium.PdfiumError as exc:
        raise ParseFailure("broken", f"not a readable PDF: {exc}") from exc
    finally:
        document.close()
    if not any(pages):
        raise ParseFailure("no_text", f"no page has text; {'; '.join(notes)}")
    body = _body_size(pages)
    largest = _largest(pages[0], body) if pages else ""
    title = own_title if own_title and not _NO_TITLE.search(own_title) else largest or stem
    _find_headings(pages, outline, body)
    return _assemble(pages, title, notes)


def _pages(document: Any, limits: Limits) -> tuple[list[list[Line]], list[str]]:
    """The lines of each page, and what should be known of pages without any."""
    pages: list[list[Line]] = []
    total = recognised = 0
    until = time.monotonic() + _OCR_SHARE * limits.timeout_s
    for number in range(len(document)):
        page = document[number]
        lines = list(_lines(page, number))
        if not lines and has_ocr() and time.monotonic() < until:
            lines = _recognised(page, number, until - time.monotonic())
            recognised += bool(lines)
        page.close()
        total += sum(len(line.text) + 1 for line in lines)
        if total > limits.max_bytes:
            raise ParseFailure("too_large", f"more than {limits.max_bytes:,} characters of text")
        pages.append(lines)
    empty = sum(not page for page in pages)
    notes = [f"{recognised} of {len(pages)} pages were read by OCR"] if recognised else []
    if empty:
        late = "the time for OCR (parse_timeout_s) was over" if time.monotonic() > until else ""
        why = late or ("blank, or no words recognised" if has_ocr() else f"scanned, and {NO_OCR}")
        notes.append(f"{empty} of {len(pages)} pages have no text: {why}")
    return content(pages), notes


def _recognised(page: Any, number: int, seconds: float) -> list[Line]:
    """The lines of a page that is a picture; of no size, so that none looks like a heading."""
    scale = min(_OCR_DOTS, _OCR_SIDE / max(page.get_size()))
    bitmap = page.render(scale=scale, grayscale=True)
    rows = memoryview(bytes(bitmap.buffer))
    dots = b"".join(
        rows[y * bitmap.stride :][: bitmap.width] for y in range(bitmap.height)
    )  # its rows may be padded
    try:
        text = words_of(b"P5 %d %d 255\n" % (bitmap.width, bitmap.height) + dots, seconds)
    except ParseFailure:  # this page's loss alone; it is counted
        return []
    found: list[Line] = []
    gap = 0.0
    for said in text.split("\n"):
        if not said.strip():
            gap = 9.0
            continue
        found.append(
            Line(text=said, page=number + 1, height=0.5, size=0.0, bold=False, left=0.0, gap=gap)
        )
        gap = 1.0
    return found


def _lines(page: Any, number: int) -> Iterator[Line]:
    """The page's lines in the order in which they were set; what stands side by side is one."""
    import ctypes

    import pypdfium2.raw as raw

    found = page.get_textpage()
    height = page.get_height() or 1.0
    text = found.get_text_range()
    before: Line | None = None
    at = 0
    for part in text.split("\n"):
        words = part.strip("\r \t")
        first = at + len(part) - len(part.lstrip("\r \t"))
        at += len(part) + 1
        if not clean(words).strip():
            continue
        left, bottom, _, _ = found.get_charbox(first)
        size = max(1.0, raw.FPDFText_GetFontSize(found.raw, first))
        name = ctypes.create_string_buffer(128)
        raw.FPDFText_GetFontInfo(found.raw, first, name, 128, ctypes.c_int())
        line = Line(
            text=_spaced(found, words, first).translate(_LIGATURES),
            page=number + 1,
            height=bottom / height,
            size=round(size, 1),
            bold=b"bold" in name.value.lower() or b"black" in name.value.lower(),
            left=left,
            end=found.get_charbox(first + len(words) - 1)[1] / height,
        )
        if before is None:
            before = line
            continue
        apart = (before.end - line.height) * height / before.size
        if abs(apart) < 0.3 and line.left > before.left:
            # The next cell of a row.
            before.text, before.end = f"{before.text}  {line.text}", line.end
            continue
        line.gap = abs(apart)
        yield before
        before = line
    if before is not None:
        yield before
    found.close()


def _spaced(found: Any, words: str, first: int) -> str:
    """The line with two blanks where its columns are apart."""
    spans = [m.span() for m in re.finditer(r"\S+", words)]
    if len(spans) < 2:
        return words
    edges = [
        (found.get_charbox(first + a)[0], found.get_charbox(first + b - 1)[2]) for a, b in spans
    ]
    letter = sum(right - left for left, right in edges) / sum(b - a for a, b in spans)
    said = words[slice(*spans[0])]
    for (_, right), (left, _), span in zip(edges, edges[1:], spans[1:], strict=False):
        apart = left - right > _COLUMN * letter
        said += ("  " if apart else " ") + words[slice(*span)]
    return said


def _body_size(pages: Sequence[Sequence[Line]]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page:
            sizes[line.size] += len(line.text)
    return max(sizes.most_common(1)[0][0], 1.0) if sizes else 1.0


def _largest(page: Sequence[Line], body: float) -> str:
    """The first page's title: its lines of the largest size, if that is larger than the body."""
    size = max((line.size for line in page), default=0.0)
    if size < _LARGER * body:
        return ""
    said = " ".join(line.text for line in page if line.size == size)
    return said if len(said) <= MAX_HEADING and re.search(r"[^\W\d_]{2}", said) else ""


def _outline(document: Any) -> list[tuple[int, int, str]]:
    """(page index, depth, title) of each bookmark, in order; empty where it is unreadable."""
    import pypdfium2 as pdfium

    found = []
    try:
        for item in document.get_toc(max_depth=99):
            target = item.get_dest()
            number = None if target is None else target.get_index()
            title = " ".join(clean(item.get_title()).split())
            if number is not None and title:
                found.append((number, min(item.level + 1, 9), title))
    except (pdfium.PdfiumError, ValueError, OverflowError):  # an extra that costs no text
        return []
    return found


def _find_headings(
    pages: Sequence[list[Line]], outline: Sequence[tuple[int, int, str]], body: float
) -> None:
    """Set the level of each line that is a heading: as the outline says, else as it looks."""
    named = 0
    for number, depth, title in outline:
        page = pages[number] if number < len(pages) else []
        wanted = _letters(title)
        names = (wanted, wanted.lstrip("0123456789")) if wanted else ()
        for at, many in itertools.product(range(len(page)), (1, 2, 3)):
            said = " ".join(x.text for x in page[at : at + many])
            if page[at].level == 0 and _letters(said).lstrip("0123456789") in names:
                page[at].text, page[at].level = said, depth
                del page[at + 1 : at + many]
                named += 1
                break
    if named >= 2:
        return
    looks = [x for page in pages for x in page if _looks_like_heading(x, body)]
    sizes = sorted({x.size for x in looks if x.size > body}, reverse=True)[: _LEVELS - 1]
    for line in looks:
        numbered = _NUMBERED.match(line.text)
        by_size = sizes.index(line.size) + 1 if line.size in sizes else len(sizes) + 1
        line.level = line.level or (
            by_size if numbered is None else max(by_size, numbered[1].count(".") + 1)
        )


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


def _looks_like_heading(line: Line, body: float) -> bool:
    if len(line.text) > 120 or not re.search(r"[^\W\d_]{3}", line.text):
        return False
    numbered = _NUMBERED.match(line.text)
    words = line.text[numbered.end() :] if numbered else line.text
    if line.text[-1] in ".,;:-" or "  " in words or line.text[0].islower():
        return False
    apart = line.gap == 0.0 or line.gap > _GAP
    if line.size >= _LARGER * body:
        return True
    return line.bold and apart and line.size >= body and len(line.text) <= 80


def _assemble(pages: Sequence[Sequence[Line]], title: str, notes: Sequence[str]) -> ParsedDocument:
    """Join the lines: headings as one, the others as paragraphs; reference lists in no block."""
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    text: list[str] = []
    length = 0
    usual = _usual_gap(pages)
    left_out = references = False
    for page in pages:
        for group in _paragraphs(page, usual):
            level = group[0].level
            rows = table(group)
            said = rows or ("\n" if level == 0 else " ").join(x.text for x in group).strip()
            if not said:
                continue
            if level:
                references = _REFERENCES.fullmatch(said) is not None
                left_out = left_out or references
                while path and path[-1][0] >= level:
                    path.pop()
                path.append((level, said[:MAX_HEADING]))
            if text:
                text.append("\n\n")
                length += 2
            if not references:
                blocks.append(
                    Block(
                        kind="heading" if level else "table" if rows else "text",
                        start=length,
                        end=length + len(said),
                        heading=tuple(name for _, name in path),
                        page=group[0].page,
                    )
                )
            text.append(said)
            length += len(said)
    if left_out:
        notes = [*notes, "the list of references was left out"]
    return ParsedDocument(
        title=title, text="".join(text), blocks=tuple(blocks), pages=len(pages), notes=tuple(notes)
    )


def _usual_gap(pages: Sequence[Sequence[Line]]) -> float:
    gaps = sorted(x.gap for page in pages for x in page if 0.0 < x.gap < 4.0)
    return gaps[len(gaps) // 2] if gaps else 1.2


def _paragraphs(page: Sequence[Line], usual: float) -> Iterator[list[Line]]:
    """Lines that belong together: no gap between them, and all or none a heading of one level."""
    group: list[Line] = []
    for line in page:
        before = group[-1] if group else None
        if before is not None and (
            line.level != before.level
            or (line.gap > _GAP * usual and not cells(line) == cells(before) > 1)
            or (line.level == 0 and abs(line.size - before.size) > 0.2 * before.size)
        ):
            yield group
            group = []
        group.append(line)
    if group:
        yield group
