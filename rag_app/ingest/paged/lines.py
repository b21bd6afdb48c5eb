"""The lines of paged documents: without running heads, page numbers and contents; whole words."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rag_app.ingest.decode import clean
from rag_app.ingest.office.tables import are_names, named_rows

_EDGE = 0.09  # of the page's height, at top and bottom, where running heads stand
_OFTEN = 3  # pages on which a line has to come back to be one
_BROKEN = re.compile(r"(?<![^\W\d_])([^\W\d_]+)[\ufffe\x02][\r\n ]{0,2}([^\W\d_]+)")
_HYPHENS = {0xFFFE: "-", 0x02: "-"}
_PAGE_NUMBER = re.compile(r"[\W\d]{1,12}|(?:page|seite)?\s?[\divxlc]{1,7}", re.I)
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(slots=True)
class Line:
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


def cells(line: Line) -> int:
    """How many cells of a row it has; running text has one."""
    return line.text.count("  ") + 1


def table(lines: Sequence[Line]) -> str:
    """Lines as rows with the names of their columns; "" where they are no table with names.

    A first row has the names if it looks different, or is followed by numbers.
    """
    rows: list[list[str]] = []
    for line in lines:
        row = line.text.split("  ")
        if rows and len(row) == 1 and line.left > lines[0].left + line.size:
            rows[-1][-1] += f" {row[0]}"  # its last cell goes on
        elif not rows or len(row) == len(rows[0]):
            rows.append(row)
        else:
            return ""
    if len(rows) < 3 or len(rows[0]) < 2 or not are_names(rows[0]):
        return ""
    gaps = [line.gap for line in lines[2:]]
    columns = zip(*rows[1:], strict=True)
    numbers = any(all(any(map(str.isdigit, cell)) for cell in column) for column in columns)
    apart = lines[0].bold != lines[1].bold or lines[1].gap > 1.2 * max(gaps)
    return named_rows(rows[0], rows[1:]) if numbers or apart else ""


def content(pages: Sequence[list[Line]]) -> list[list[Line]]:
    """What is left of the pages' lines for a reader."""
    pages = [_without_contents(page) for page in _without_running_heads(pages)]
    known = Counter(w.casefold() for page in pages for x in page for w in _WORD.findall(x.text))
    return [_joined(page, known) for page in pages]


def _without_running_heads(pages: Sequence[list[Line]]) -> list[list[Line]]:
    """Without what stands at the edge of many pages, its numbers apart, and page numbers."""

    def at_edge(line: Line, edge: float = _EDGE) -> bool:
        return line.height > 1.0 - edge or line.height < edge

    def shape(line: Line) -> str:
        return re.sub(r"\d+", "0", line.text)

    def offsets(line: Line) -> set[int]:
        """How far the numbers at its ends are from the page's own."""
        ends = re.findall(r"^\d{1,4}(?=\s)|(?<=\s)\d{1,4}$", line.text)
        return {int(number) - line.page for number in ends}

    edges = [[x for x in page if at_edge(x)] for page in pages]
    seen = Counter(s for page in edges for s in {shape(x) for x in page})
    numbered = Counter(n for page in edges for n in {n for x in page for n in offsets(x)})

    def is_head(line: Line) -> bool:
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


def _without_contents(page: list[Line]) -> list[Line]:
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


def _joined(page: list[Line], known: Counter[str]) -> list[Line]:
    """The page's lines with broken words whole, each with the line that it began on."""
    found: list[Line] = []
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
