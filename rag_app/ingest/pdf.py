"""PDF: the lines of each page with their place and size, and what these say: headings, paragraphs.

Pdfium reads; what a line is follows from where it stands. Lines that stand at the edge of most
pages are running heads, a larger or bolder line is a heading where no outline names them, and a
gap ends a paragraph. Reference lists are left out: they match many questions and answer none.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rag_app.ingest.decode import clean
from rag_app.ingest.document import MAX_HEADING, Block, Limits, ParsedDocument, ParseFailure

_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl",
     "\ufb05": "st", "\ufb06": "st"}
)  # fmt: skip
_EDGE = 0.09  # of the page's height, at top and bottom, where running heads stand
_OFTEN = 3  # pages on which a line has to come back to be one
_LARGER = 1.12  # than the body's letters, and a line may be a heading
_GAP = 1.45  # of the usual distance between two lines, from which on a paragraph ends
_LEVELS = 4
_BROKEN = re.compile(r"([^\W\d_]+)[\ufffe\x02][\r\n ]{0,2}([^\W\d_]+)")
_HYPHENS = {0xFFFE: "-", 0x02: "-"}
_REFERENCES = re.compile(
    r"(?:\d{1,2}\.?\s)?(?:references|bibliography|works cited|literature cited|literatur"
    r"(?:verzeichnis)?)\.?",
    re.I,
)
_PAGE_NUMBER = re.compile(r"[\W\d]{1,12}|(?:page|seite)?\s?[\divxlc]{1,7}", re.I)
_NUMBERED = re.compile(r"(\d{1,2}(?:\.\d{1,2}){0,3})\.?\s{1,4}[^\W\d_]")
_NO_TITLE = re.compile(r"untitled|microsoft word|\.(?:docx?|dvi|tex|indd|pdf|qxd|pptx?)$", re.I)
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(slots=True)
class _Line:
    """A line of a page: where it stands from the bottom (0 to 1), its size, and what it is."""

    text: str
    page: int
    height: float
    size: float
    bold: bool
    left: float
    end: float = 0.0  # where its last letter stands: a broken word goes on a line below
    gap: float = 0.0  # to the line before, in lines' own sizes; 0 at the top of a page
    level: int = 0


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
        pages, empty = _pages(document, limits)
        outline = _outline(document)
        own_title = " ".join(clean(document.get_metadata_value("Title")).split())
    except pdfium.PdfiumError as exc:
        raise ParseFailure("broken", f"not a readable PDF: {exc}") from exc
    finally:
        document.close()
    if not any(pages):
        raise ParseFailure("no_text", "no page has text: a scan? Run OCR on it first")
    body = _body_size(pages)
    largest = _largest(pages[0], body) if pages else ""
    title = own_title if own_title and not _NO_TITLE.search(own_title) else largest or stem
    _find_headings(pages, outline, body)
    return _assemble(pages, title, empty=empty)


def _pages(document: Any, limits: Limits) -> tuple[list[list[_Line]], int]:
    """The lines of each page, and how many pages have none."""
    pages: list[list[_Line]] = []
    total = 0
    for number in range(len(document)):
        page = document[number]
        lines = list(_lines(page, number))
        page.close()
        total += sum(len(line.text) + 1 for line in lines)
        if total > limits.max_bytes:
            raise ParseFailure("too_large", f"more than {limits.max_bytes:,} characters of text")
        pages.append(lines)
    empty = sum(not page for page in pages)
    pages = [_without_contents(page) for page in _without_running_heads(pages)]
    known = Counter(w.casefold() for page in pages for x in page for w in _WORD.findall(x.text))
    return [_joined(page, known) for page in pages], empty


def _lines(page: Any, number: int) -> Iterator[_Line]:
    """The page's lines in the order in which they were set; what stands side by side is one."""
    import ctypes

    import pypdfium2.raw as raw

    found = page.get_textpage()
    height = page.get_height() or 1.0
    text = found.get_text_range()
    before: _Line | None = None
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
        line = _Line(
            text=words.translate(_LIGATURES),
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


def _without_running_heads(pages: Sequence[list[_Line]]) -> list[list[_Line]]:
    """Without what stands at the edge of many pages, its numbers apart, and page numbers."""

    def at_edge(line: _Line, edge: float = _EDGE) -> bool:
        return line.height > 1.0 - edge or line.height < edge

    def shape(line: _Line) -> str:
        return re.sub(r"\d+", "0", line.text)

    def offsets(line: _Line) -> set[int]:
        """How far the numbers at its ends are from the page's own."""
        ends = re.findall(r"^\d{1,4}(?=\s)|(?<=\s)\d{1,4}$", line.text)
        return {int(number) - line.page for number in ends}

    edges = [[x for x in page if at_edge(x)] for page in pages]
    seen = Counter(s for page in edges for s in {shape(x) for x in page})
    numbered = Counter(n for page in edges for n in {n for x in page for n in offsets(x)})

    def is_head(line: _Line) -> bool:
        return at_edge(line) and (
            seen[shape(line)] >= _OFTEN or any(numbered[n] >= _OFTEN for n in offsets(line))
        )

    return [
        [
            x
            for x in page
            if not is_head(x) and not (at_edge(x, 1.4 * _EDGE) and _PAGE_NUMBER.fullmatch(x.text))
        ]
        for page in pages
    ]


def _without_contents(page: list[_Line]) -> list[_Line]:
    """Without a table of contents: lines that end with the number of a page, and these rise."""
    led = [(line, *_led(line.text)) for line in page]
    numbers = [number for _, number, _ in led if number is not None]
    rising = sum(a <= b for a, b in itertools.pairwise(numbers))
    if len(numbers) < 8 or 2 * len(numbers) < len(page) or rising < 0.85 * (len(numbers) - 1):
        return [line for line, _, dotted in led if not dotted]
    return [line for line, number, _ in led if number is None]


def _led(text: str) -> tuple[int | None, bool]:
    """The number that the line ends with, and whether dots lead to it."""
    words = text.rstrip("0123456789")
    digits = text[len(words) :]
    if not 1 <= len(digits) <= 4:
        return None, False
    return int(digits), len(words) - len(words.rstrip(". \u2026")) >= 8


def _whole(text: str, known: Counter[str]) -> str:
    """The text with words whole that the typesetter broke: without that nothing knows them."""

    def mend(found: re.Match[str]) -> str:
        a, b = found[1].casefold(), found[2].casefold()
        # A hyphen of the author's stands between two words that stand alone as well.
        own = not known[a + b] and known[a] > 1 and known[b] > 1 and len(b) > 2
        return f"{found[1]}{'-' if own or not found[2][0].islower() else ''}{found[2]}"

    return _BROKEN.sub(mend, text).translate(_HYPHENS)


def _joined(page: list[_Line], known: Counter[str]) -> list[_Line]:
    """The page's lines with broken words whole, each with the line that it began on."""
    found: list[_Line] = []
    for line in page:
        before = found[-1] if found else None
        if before is not None and before.text.endswith("-") and before.size == line.size:
            head, _, rest = line.text.partition(" ")
            if head and head[0].islower() and before.text[-2:-1].isalpha():
                before.text = f"{before.text[:-1]}\ufffe{head}"
                line.text = rest.lstrip()
        if line.text:
            found.append(line)
    for line in found:
        line.text = clean(_whole(line.text, known))
    return [line for line in found if line.text.strip()]


def _body_size(pages: Sequence[Sequence[_Line]]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page:
            sizes[line.size] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 1.0


def _largest(page: Sequence[_Line], body: float) -> str:
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
    pages: Sequence[list[_Line]], outline: Sequence[tuple[int, int, str]], body: float
) -> None:
    """Set the level of each line that is a heading: as the outline says, else as it looks."""
    named = 0
    for number, depth, title in outline:
        page = pages[number] if number < len(pages) else []
        wanted = _letters(title)
        for line in page:
            if (
                line.level == 0
                and wanted
                and _letters(line.text).lstrip("0123456789")
                in (
                    wanted,
                    wanted.lstrip("0123456789"),
                )
            ):
                line.level = depth
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


def _looks_like_heading(line: _Line, body: float) -> bool:
    if len(line.text) > 120 or not re.search(r"[^\W\d_]{3}", line.text):
        return False
    if line.text[-1] in ".,;:-" or "  " in line.text or line.text[0].islower():
        return False
    apart = line.gap == 0.0 or line.gap > _GAP
    if line.size >= _LARGER * body:
        return True
    return line.bold and apart and line.size >= body and len(line.text) <= 80


def _assemble(pages: Sequence[Sequence[_Line]], title: str, *, empty: int) -> ParsedDocument:
    """Join the lines: headings as one, the others as paragraphs; reference lists in no block."""
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    text: list[str] = []
    notes: list[str] = []
    length = 0
    usual = _usual_gap(pages)
    left_out = references = False
    for page in pages:
        for group in _paragraphs(page, usual):
            level = group[0].level
            said = ("\n" if level == 0 else " ").join(line.text for line in group).strip()
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
                        kind="heading" if level else "text",
                        start=length,
                        end=length + len(said),
                        heading=tuple(name for _, name in path),
                        page=group[0].page,
                    )
                )
            text.append(said)
            length += len(said)
    if empty:
        notes.append(f"{empty} of {len(pages)} pages have no text (scanned or blank)")
    if left_out:
        notes.append("the list of references was left out")
    return ParsedDocument(
        title=title, text="".join(text), blocks=tuple(blocks), pages=len(pages), notes=tuple(notes)
    )


def _usual_gap(pages: Sequence[Sequence[_Line]]) -> float:
    gaps = sorted(x.gap for page in pages for x in page if 0.0 < x.gap < 4.0)
    return gaps[len(gaps) // 2] if gaps else 1.2


def _paragraphs(page: Sequence[_Line], usual: float) -> Iterator[list[_Line]]:
    """Lines that belong together: no gap between them, and all or none a heading of one level."""
    group: list[_Line] = []
    for line in page:
        before = group[-1] if group else None
        if before is not None and (
            line.level != before.level
            or line.gap > _GAP * usual
            or (line.level == 0 and abs(line.size - before.size) > 0.2 * before.size)
        ):
            yield group
            group = []
        group.append(line)
    if group:
        yield group
