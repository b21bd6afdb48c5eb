"""Citations that hold: each `[n]` names a source that exists, and the words that support it.

Numbers are given anew, from [1], in the order of first use; a citation of a source that was
never handed over is taken out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag_app.generate.answer import Quote, Source
from rag_app.generate.context import SourceText
from rankgate.judge.sentences import boundaries, clean, other_lines, split_sentences
from rankgate.judge.words import content_words, overlap

# [1]  [1, 2]  [1-3]  [Source 2]; three digits at most, so that [2024] stays a year.
_INNER = r"(?:sources?\s*)?\d{1,3}(?:\s*(?:,|;|-|\u2013|and)\s*(?:sources?\s*)?\d{1,3})*"
_MARKER = rf"[\[\u3010]\s*({_INNER})\s*[\]\u3011]"
_TOKEN = re.compile(rf"`+|\n|(?<![ \t])[ \t]*{_MARKER}", re.IGNORECASE)
# What could still become a marker, a longer run of backticks, or white space before a marker.
_UNDECIDED = re.compile(
    r"(?:(?<![ \t])[ \t]*[\[\u3010][^\[\]\u3010\u3011\n]{0,120}|(?<![ \t])[ \t]+|(?<!`)`+)$"
)


class CitationNumbering:
    """Renumbers citations while the text is still being written.

    Pieces go in through `feed`; what comes out, put together, is the final text. Whatever
    could be the beginning of a citation is held back until it is decided. Citations inside
    code are left alone: `values[1]` is none.

    Args:
        available: how many sources there are, numbered from 1.
    """

    def __init__(self, available: int) -> None:
        self.available = available
        self.order: list[int] = []
        self.removed = 0
        self._pending = ""
        self._fenced = False
        self._in_code = False
        self._begun = self._cited = False

    def feed(self, piece: str) -> str:
        """The text that is decided once this piece is known."""
        self._pending += piece
        held = _UNDECIDED.search(self._pending)
        cut = len(self._pending) if held is None else held.start()
        decided, self._pending = self._pending[:cut], self._pending[cut:]
        return self._rendered(decided)

    def finish(self) -> str:
        """The rest."""
        decided, self._pending = self._pending, ""
        return self._rendered(decided).rstrip()

    def _rendered(self, text: str) -> str:
        out, position = [], 0
        for token in _TOKEN.finditer(text):
            out.append(self._apart(text[position : token.start()]))
            position = token.end()
            mark = token.group()
            if mark.startswith("```"):
                self._fenced = not self._fenced
            elif mark.startswith("`"):
                self._in_code = not self._in_code and not self._fenced
            elif mark == "\n":
                self._in_code = False
            elif not (self._fenced or self._in_code):
                mark = self._renumbered(mark, token.group(1))
                self._cited = True
            out.append(mark)
        out.append(self._apart(text[position:]))
        result = "".join(out)
        if not self._begun:
            result = result.lstrip()
            self._begun = bool(result)
        return result

    def _apart(self, text: str) -> str:
        """What follows; set off where Markdown would make the citation a link to elsewhere."""
        link = self._cited and text.startswith(("(", "["))
        self._cited = self._cited and not text
        return f" {text}" if link else text

    def _renumbered(self, mark: str, inner: str) -> str:
        kept = []
        for number in _numbers(inner):
            if not 1 <= number <= self.available:
                self.removed += 1
                continue
            if number not in self.order:
                self.order.append(number)
            kept.append(f"[{self.order.index(number) + 1}]")
        space = mark[: len(mark) - len(mark.lstrip())]
        return space + "".join(dict.fromkeys(kept)) if kept else ""


def _numbers(inner: str) -> list[int]:
    """`1, 3-5` as 1, 3, 4, 5; a range of more than ten is taken as its two ends."""
    found: list[int] = []
    for low, high in re.findall(r"(\d+)(?:\s*[-\u2013]\s*(?:sources?\s*)?(\d+))?", inner, re.I):
        first, last = int(low), int(high) if high else int(low)
        found.extend(range(first, last + 1) if first <= last <= first + 10 else (first, last))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """A text with its sources.

    Attributes:
        text: with `[1]`, `[2]`, ...
        sources: one a number.
        removed: citations that were taken out.
        weak: citations whose source shares no content word with the claim.
    """

    text: str
    sources: tuple[Source, ...]
    removed: int = 0
    weak: int = 0


def cite(text: str, sources: Sequence[SourceText]) -> Cited:
    """Verify the citations of a whole text.

    Args:
        text: as it was written, citing `sources` by their numbers.
        sources: what could be cited, numbered from 1 in this order.
    """
    numbering = CitationNumbering(len(sources))
    written = numbering.feed(text)
    written += numbering.finish()
    return supported(written, numbering, sources)


def supported(text: str, numbering: CitationNumbering, sources: Sequence[SourceText]) -> Cited:
    """Find for each citation of a renumbered text the words that support it."""
    quotes: dict[int, list[Quote]] = {n: [] for n in range(1, len(numbering.order) + 1)}
    weak = 0
    for number, claim in _claims(text, len(numbering.order)):
        quote = locate(claim, sources[numbering.order[number - 1] - 1])
        weak += quote.overlap == 0
        if quote not in quotes[number]:
            quotes[number].append(quote)
    return Cited(
        text=text,
        sources=tuple(
            Source.of(sources[original - 1], number=number, quotes=tuple(quotes[number]))
            for number, original in enumerate(numbering.order, start=1)
        ),
        removed=numbering.removed,
        weak=weak,
    )


def _claims(text: str, known: int) -> list[tuple[int, str]]:
    """Every citation with the words before it that it stands for."""
    marks = [m for m in _plain_marks(text) if 1 <= int(m.group(1)) <= known]
    blank = list(text)
    for mark in marks:
        blank[mark.start() : mark.end()] = " " * (mark.end() - mark.start())
    bare = "".join(blank)
    spans = list(boundaries(bare, 0, len(bare)))
    found, run_begin, previous_end = [], 0, 0
    for mark in marks:
        if mark.start() > previous_end:
            run_begin = previous_end
        previous_end = mark.end()
        before = [span for span in spans if span[0] < mark.start()]
        low, high = before[-1] if before else (spans[0] if spans else (0, 0))
        clause = bare[max(low, run_begin) : mark.start()]
        whole = bare[low:high]
        found.append((int(mark.group(1)), clean(clause if content_words(clause) else whole)))
    return found


def _plain_marks(text: str) -> list[re.Match[str]]:
    """The citations of a renumbered text, those inside code left out."""
    found, fenced, in_code = [], False, False
    for token in re.finditer(r"`+|\n|\[(\d{1,3})\]", text):
        mark = token.group()
        if mark.startswith("```"):
            fenced = not fenced
        elif mark.startswith("`"):
            in_code = not in_code and not fenced
        elif mark == "\n":
            in_code = False
        elif not (fenced or in_code):
            found.append(token)
    return found


def locate(claim: str, source: SourceText) -> Quote:
    """The sentence, or else the line, of the source that shares most words with the claim.

    Ties go to the one with fewer words besides, then to the earlier one.
    """
    body = source.body
    spans = [*split_sentences(body), *other_lines(body)]
    if not spans:
        return Quote(text=body, start=source.start, end=source.start + len(body), overlap=0.0)
    wanted = content_words(claim)

    def strength(index: int) -> tuple[float, float, int]:
        words = content_words(spans[index].shown)
        either = len(wanted | words)
        jaccard = len(wanted & words) / either if either else 0.0
        return overlap(wanted, spans[index].shown), jaccard, -index

    best = spans[max(range(len(spans)), key=strength)]
    return Quote(
        text=body[best.start : best.end],
        start=source.start + best.start,
        end=source.start + best.end,
        overlap=overlap(wanted, best.shown),
    )
