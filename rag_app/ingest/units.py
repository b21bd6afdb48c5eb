"""Units: the smallest stretches that chunking keeps whole - sentences, lists, fences, tables."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_app.ingest.document import Block
from rag_app.ingest.plain import lines

if TYPE_CHECKING:
    from rag_app.index.embeddings import Tokenizer

_PIECE = 20_000
_PARTS = 5
# English has four to five characters a token. A stretch far above that is one that the
# tokenizer gives up on (base64, padding); by its length it still has to count for something.
_CHARS_A_TOKEN = 10
_SENTENCE_END = re.compile(
    r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[*_`]*[^\W_a-z])"
    r"|(?<=[\u3002\uff01\uff1f])\s*"
    r"|\n(?=[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t])"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|approx|no|fig|eq|sec|ch|vol|al|mr|mrs|ms|dr|prof|st|inc|ltd)"
    r"|\b[A-Z])\.$"
    # The number of a list item.
    r"|(?<![^\n])[ \t]*\d{1,3}\.$",
    re.I,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A stretch that is not cut.

    Attributes:
        start, end: character offsets.
        weight: tokens, or a tenth of the characters where that is more.
        prose: whether a part of it may be repeated as overlap.
        closes: whether a paragraph, fence or table ends with it.
    """

    start: int
    end: int
    weight: int
    prose: bool
    closes: bool
    page: int | None


class TokenIndex:
    """Where the tokens of a text begin, so that any slice can be counted without encoding it."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.text = text
        self._starts: list[int] = []
        bounds = list(_pieces(text))
        # In batches: the encodings of a long text are many times its size.
        for first in range(0, len(bounds), 16):
            batch = bounds[first : first + 16]
            encodings = tokenizer.encode_batch(
                [text[a:b] for a, b in batch], add_special_tokens=False
            )
            for (base, _), encoding in zip(batch, encodings, strict=True):
                self._starts += [base + a for a, _ in encoding.offsets]

    def count(self, start: int, end: int) -> int:
        """Tokens that begin in the slice."""
        return bisect.bisect_left(self._starts, end) - bisect.bisect_left(self._starts, start)

    def weight(self, start: int, end: int) -> int:
        """Tokens of the slice, or a tenth of its characters where that is more; at least 1."""
        return max(1, self.count(start, end), -(-(end - start) // _CHARS_A_TOKEN))

    def cut(self, start: int, end: int, limit: int) -> int:
        """The farthest word boundary (or else character) with at most `limit` weight before it."""
        first = bisect.bisect_left(self._starts, start)
        by_tokens = self._starts[first + limit] if first + limit < len(self._starts) else end
        stop = min(end, by_tokens, start + limit * _CHARS_A_TOKEN)
        if stop >= end:
            return end
        blank = max(self.text.rfind(c, start + 1, stop + 1) for c in " \n\t")
        return blank if blank > start else max(stop, start + 1)

    def tail(self, start: int, end: int, limit: int) -> int:
        """The first word boundary with at most `limit` weight after it; `end` if there is none."""
        last = bisect.bisect_left(self._starts, end)
        earliest = max(start, end - limit * _CHARS_A_TOKEN)
        if last - limit >= 0:
            earliest = max(earliest, self._starts[last - limit])
        if earliest <= start:
            return start
        if self.text[earliest - 1].isspace():
            return earliest
        word = re.compile(r"\s+").search(self.text, earliest, end)
        return end if word is None else word.end()


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """The text in pieces cut at blanks, so that no word is cut and no encoding is huge."""
    start = 0
    while start < len(text):
        end = min(len(text), start + _PIECE)
        if end < len(text):
            blank = max(text.rfind(c, start + 1, end) for c in " \n\t")
            end = blank if blank > start else end
        yield start, end
        start = end


def sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Offsets of the sentences and list items of a paragraph; blanks between belong to none."""
    found = []
    begin = start
    for match in _SENTENCE_END.finditer(text, start, end):
        before = match.start()
        if _ABBREVIATION.search(text, max(begin, before - 12), before):
            continue
        stop = before + len(match[0].rstrip())
        if stop > begin:
            found.append((begin, stop))
            begin = match.end()
    if begin < end:
        found.append((begin, end))
    return found


def units_of(block: Block, index: TokenIndex, limit: int) -> list[Unit]:
    """A block's units, none heavier than `limit`.

    Code and tables are one unit where they fit, and lines where they do not.
    """
    prose = block.kind == "text"
    if prose:
        spans = sentences(index.text, block.start, block.end)
    elif index.weight(block.start, block.end) <= limit:
        spans = [(block.start, block.end)]
    else:
        spans = [(a, b) for a, b in lines(index.text, block.start, block.end) if a < b]
    found: list[Unit] = []
    for start, end in spans:
        # In parts well below a chunk, so that a chunk can be filled, and its end repeated.
        long = index.weight(start, end) > limit
        while start < end:
            stop = index.cut(start, end, max(1, limit // _PARTS)) if long else end
            trimmed = start + len(index.text[start:stop].rstrip())
            if trimmed > start:
                found.append(
                    Unit(
                        start=start,
                        end=trimmed,
                        weight=min(limit, index.weight(start, trimmed)),
                        prose=prose,
                        closes=stop >= block.end,
                        page=block.page,
                    )
                )
            start = stop
            while start < end and index.text[start].isspace():
                start += 1
    return found
