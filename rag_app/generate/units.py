"""What can be quoted of a passage, and the words that it stands under.

Units are sentences, list items, rows of tables, lines of code, and terms with what they mean.
Headings, captions and mere terms are none; they are words that others stand under. A row is
shown with the names of its columns.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rag_app.generate.lead_in import completed
from rankgate.judge.sentences import Sentence, boundaries, clean, split_sentences

__all__ = ["Unit", "units_of"]

_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_RULE = re.compile(r"[\s:|-]{3,}$")
_CELLS = re.compile(r"(?<!\\)\|")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s")
_ITEM = re.compile(r"\s*(?:[-*+\u2022\u2013]|\d{1,3}[.)])\s")
_ENDS = re.compile(r"[.!?:;,\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*$")
_INSIDE = re.compile(r"[.!?] +[A-Z\"\u201c]")
_FULL = 0.85  # of the longest line: in running text nearly all lines but the last are as long
_RAGGED = 0.7  # share of them below which it is no running text
# The number of a section, a mark, or who is quoted explains nothing.
_NO_LABEL = re.compile(
    r"(?:\d{1,2}\.)+\d{0,2}\s|\d{1,2}\s[A-Z]|(?:chapter|section|appendix|part|table|figure) [\dA-Z]"
    r"|\[|[-\u2013\u2014]{1,2}\s",
    re.I,
)
_TERM = 60  # characters that a term has at most
_TERM_WORDS = 6

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One thing to quote.

    Attributes:
        sentence: its place in the passage, and how it is shown.
        under: the words that it stands under: column names, a caption, a term.
        row: whether it is a row, a line of code or a term with its meaning: whole without a stop.
    """

    sentence: Sentence
    under: str = ""
    row: bool = False

    @property
    def telling(self) -> bool:
        """Whether it says something by itself."""
        said = self.sentence
        return not said.asks and (self.row or not said.fragment)


def units_of(text: str) -> tuple[Unit, ...]:
    """The units of a passage, in order; none overlaps another, but for the lines of a lead-in."""
    found: list[Unit] = []
    under, label, before = "", None, ""
    sentences = split_sentences(text)
    for block in _blocks(text):
        lines = [text[a:b] for a, b in block]
        start, end = block[0][0], block[-1][1]
        if _FENCE.match(lines[0]):
            found += _code(text, block, before)
        elif lines[0].lstrip().startswith("|"):
            found += _table(text, block, under or before)
        elif _HEADING.match(lines[0]) and len(lines) == 1:
            under, label = clean(lines[0].lstrip(" #")), None
            continue
        elif _is_ragged(lines):
            found += _rows(text, block, under)
        else:
            mine = [s for s in sentences if s.start < end and start < s.end]
            if _is_term(text[start:end], mine):
                under = clean(text[start:end])
                label = None if _NO_LABEL.match(under) else (start, end)
                continue
            found += _said(text, mine, under, label)
        before, label = clean(text[start:end]), None
    return tuple(found)


def _blocks(text: str) -> Iterator[list[Span]]:
    """Spans of lines without a blank one between; a fence is one block, a heading another."""
    block: list[Span] = []
    at, fenced = 0, False
    for line in text.splitlines(keepends=True):
        span = (at, at + len(line.rstrip()))
        at += len(line)
        fence = bool(_FENCE.match(line))
        table = line.lstrip().startswith("|")
        alone = _HEADING.match(line) is not None
        first = text[slice(*block[0])] if block else ""
        breaks = not line.strip() or alone or fence or table != first.lstrip().startswith("|")
        if block and not fenced and breaks:
            yield block
            block = []
        if line.strip():
            block.append(span)
        if (fence and fenced) or (alone and not fenced):
            yield block
            block = []
        fenced = fenced != fence
    if block:
        yield block


def _said(text: str, sentences: Sequence[Sentence], under: str, label: Span | None) -> list[Unit]:
    """Sentences; the first one with the term that it explains."""
    # An item of a list is whole without a verb.
    found = [
        Unit(sentence=completed(text, s), under=under, row=s.item and not s.announces)
        for s in sentences
    ]
    if found and label is not None and found[0].telling and not found[0].sentence.item:
        first, (low, high) = found[0].sentence, label
        shown = f"{clean(text[low:high]).rstrip(':')}: {first.shown}"
        found[0] = Unit(sentence=replace(first, start=low, shown=shown), under=under)
    return found


def _is_term(block: str, sentences: Sequence[Sentence]) -> bool:
    """Whether a block is a term or caption that stands over what comes next."""
    return (
        len(block) <= _TERM
        and "\n" not in block
        and len(block.split()) <= _TERM_WORDS
        and not _ENDS.search(block)
        and not _ITEM.match(block)
        and all(s.fragment for s in sentences)
    )


def _is_ragged(lines: Sequence[str]) -> bool:
    """Whether lines are rows of something: running text fills its lines, and ends with a stop."""
    if len(lines) < 3 or any(map(_ITEM.match, lines)):
        return False
    longest = max(map(len, lines))
    full = sum(len(line) >= _FULL * longest for line in lines[:-1])
    stops = sum(
        _ENDS.search(line) is not None or _INSIDE.search(line) is not None for line in lines
    )
    return full < _RAGGED * (len(lines) - 1) and 3 * stops < len(lines)


def _rows(text: str, block: Sequence[Span], under: str) -> Iterator[Unit]:
    """A line each; what is put in brackets on a line of its own goes on the one before."""
    spans: list[Span] = []
    for low, high in block:
        if spans and (text[low] == "(" or (len(text[low:high].split()) == 1 and len(block) > 4)):
            spans[-1] = (spans[-1][0], high)
        else:
            spans.append((low, high))
    for low, high in spans:
        yield _unit(text, low, high, clean(text[low:high]), under)


def _code(text: str, block: Sequence[Span], before: str) -> Iterator[Unit]:
    for low, high in block:
        line = text[low:high]
        if not _FENCE.match(line):
            unit = _unit(text, low, high, f"`{line.strip()}`", before)
            # By itself a line of code is seldom an answer: it counts as unfinished.
            yield replace(unit, sentence=replace(unit.sentence, item=False))


def _table(text: str, block: Sequence[Span], caption: str) -> Iterator[Unit]:
    """Rows with the names of their columns; a cell that fills its row is running text."""
    names: list[str] = []
    spans = list(block)
    if len(spans) > 1 and _RULE.match(text[slice(*spans[1])]):
        names = [clean(text[a:b]) for a, b in _cells(text, spans[0])]
        spans = spans[2:]
    section = ""
    for low, high in spans:
        cells = [(a, b) for a, b in _cells(text, (low, high))]
        full = [(i, a, b) for i, (a, b) in enumerate(cells) if a < b]
        if len(full) == 1 and len(cells) > 1:
            _, a, b = full[0]
            if b - a <= _TERM and not _ENDS.search(text[a:b]):
                section = clean(text[a:b])  # a row that names those below it
                continue
            for start, end in boundaries(text, a, b):
                said = Sentence(start=start, end=end, shown=clean(text[start:end]))
                yield Unit(sentence=said, under=" ".join(names))
            continue
        named = [(names[i] if i < len(names) else "", clean(text[a:b])) for i, a, b in full]
        shown = "; ".join(f"{name}: {said}" if name else said for name, said in named)
        under = " ".join(filter(None, (caption[-200:], section, *names)))
        yield _unit(text, low, high, shown, under)


def _cells(text: str, row: Span) -> list[Span]:
    """Where the cells of a row stand, without the blanks around them."""
    low, high = row
    bars = [low + m.start() for m in _CELLS.finditer(text[low:high])]
    edges = [low - 1, *bars, high] if text[low] != "|" else [*bars, high]
    if text[high - 1] == "|":
        edges.pop()
    found = []
    for a, b in itertools.pairwise(edges):
        said = text[a + 1 : b]
        start = a + 1 + len(said) - len(said.lstrip())
        found.append((start, max(start, a + 1 + len(said.rstrip()))))
    return found


def _unit(text: str, low: int, high: int, shown: str, under: str) -> Unit:
    low += len(text[low:high]) - len(text[low:high].lstrip())
    return Unit(
        sentence=Sentence(start=low, end=high, shown=shown, item=True), under=under, row=True
    )
