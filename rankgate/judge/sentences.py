"""Sentences of a passage, with their exact place in it, cleaned for display.

Made for Markdown, harmless on plain text: headings, code, tables, rules, images and
reference definitions hold no sentences; list and quote markers do not belong to theirs.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Sentence", "boundaries", "clean", "other_lines", "split_sentences"]

_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_HEADING = re.compile(r"\s{0,3}#{1,6}(\s|$)")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-{2,})\s*$")
_RULE = re.compile(r"\A\s{0,3}([-*_]\s*){3,}$")
_HTML = re.compile(r"\A\s*<(!--|/?[A-Za-z][^>]*>\s*$)")
_DEFINITION = re.compile(r"\A\s{0,3}\[[^\]]+\]:\s+\S")
_IMAGE = re.compile(r"\A\s*(\[?!\[[^\]]*\]\([^)]*\)(\]\([^)]*\))?\s*)+$")
_ITEM = re.compile(r"\s*([-*+\u2022\u2013]|\d{1,3}[.)])\s+(\[[ xX]\]\s+)?")
_QUOTE = re.compile(r"\s*(>\s?)+")

_STOP = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]+[\"'\u201d\u2019)\]*_`]*\s+(?=\S)|[\u3002\uff01\uff1f]+"
)
_ABBREVIATIONS = frozenset(
    "e.g i.e etc vs cf al approx ca no nos fig figs eq eqs sec ch vol pp p mr mrs ms dr prof st "
    "inc ltd co corp jr sr dept est min max resp incl excl jan feb mar apr jun jul aug sep sept "
    "oct nov dec".split()
)
_FEWEST = 4
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WORDS = re.compile(rf"`[^`]+`|{_UNSPACED.pattern}|[^\W_](?:[\w'\u2019./-]*\w)?")
# Auxiliaries, and endings that verbs have; a plural passes too, a bare term does not.
_VERB = re.compile(
    r"is|are|was|were|be|been|has|have|had|do|does|did|can|could|may|might|must|shall|should|"
    r"will|would|use|set|run|let|make|give|see|need|want|try|add|put|get|keep|take|become|became|"
    r"\w{2,}(?:ed|ing|es|[^s\W]s|n't)"
)
_ESCAPED = re.compile(r"\\([!-/:-@\[\]^_`{|}~])")
# Whatever begins one and never ends is passed over as a whole, not tried again at each mark of it.
_PICTURE = re.compile(r"!\[[^\]]*(?:\](?:\([^)]*(?:(\))|\Z))?|\Z)")
_STARRED = re.compile(r"\*\*(?:(\S|\S.*?\S)\*\*|\S.*\Z)", re.DOTALL)
_UNDERLINED = re.compile(r"(?<!\w)__(?:(\S|\S.*?\S)__(?!\w)|\S.*\Z)", re.DOTALL)
# Escaped characters wait as Unicode's 32 noncharacters until markup is gone: no text has those.
_WAITING = {mark: chr(0xFDD0 + i) for i, mark in enumerate(string.punctuation)}
_RESTORED = str.maketrans({waiting: mark for mark, waiting in _WAITING.items()})
_INLINE_TAG = re.compile(
    r"<br\s*/?>|</?(?:b|i|u|em|strong|code|kbd|sub|sup|span|a|p)(?:\s[^<>]*)?>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence.

    Attributes:
        start, end: its place in the text it was found in; `text[start:end]` is verbatim.
        shown: the same for display: one line, without markup.
        item: whether it belongs to a list item, which needs no full stop.
        led: whether the lines that it announces are part of it; see `lead_in`.
    """

    start: int
    end: int
    shown: str
    item: bool = False
    led: bool = False

    @property
    def stopped(self) -> bool:
        """Whether it ends like a sentence."""
        return self.shown.rstrip("\"'\u201d\u2019)]*_`").endswith(
            (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f")
        )

    @property
    def asks(self) -> bool:
        """Whether it is a question: what a document asks answers nothing."""
        return self.shown.rstrip("\"'\u201d\u2019)]*_`").endswith(("?", "\uff1f"))

    @property
    def announces(self) -> bool:
        """Whether it ends with a colon, so that what it says stands in the lines after it."""
        return not self.led and self.shown.endswith((":", "\uff1a"))

    @property
    def finished(self) -> bool:
        """Whether it reads as a whole: ends like a sentence, is a list item, or has its lines."""
        return self.led or self.stopped or (self.item and not self.announces)

    @property
    def fragment(self) -> bool:
        """Whether it says nothing by itself: a term, a heading, or a mere announcement.

        Fewer than four words, or a colon at the end, or neither a full stop nor anything like a
        verb. In scripts without spaces a character counts as a word, and verbs are not looked
        for.
        """
        words = _WORDS.findall(self.shown)
        if len(words) < _FEWEST or self.announces:
            return True
        if self.led or self.stopped or any(_UNSPACED.match(w) for w in words):
            return False
        return not any(_VERB.fullmatch(w.lower()) for w in words)


def split_sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a passage, in order; what has no letter or digit is none."""
    found = []
    for start, end, item in _blocks(text):
        for low, high in boundaries(text, start, end):
            shown = clean(text[low:high])
            if any(ch.isalnum() for ch in shown):
                found.append(Sentence(start=low, end=high, shown=shown, item=item))
    return tuple(found)


def other_lines(text: str) -> tuple[Sentence, ...]:
    """The lines that belong to no sentence: rows of tables, code, headings; rules left out."""
    taken = split_sentences(text)
    found, offset = [], 0
    for line in text.splitlines(keepends=True):
        begin, offset = offset, offset + len(line)
        shown = " ".join(line.strip().strip("|").split())
        inside = any(s.start < offset and begin < s.end for s in taken)
        if inside or not any(ch.isalnum() for ch in shown) or _FENCE.match(line):
            continue
        low = begin + len(line) - len(line.lstrip())
        found.append(Sentence(start=low, end=begin + len(line.rstrip()), shown=shown, item=True))
    return tuple(found)


def boundaries(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Sentence spans of running text between two offsets, white space at the edges left out."""
    low = start
    for stop in _STOP.finditer(text, start, end):
        if _ends_here(text, low, stop, end):
            yield from _trimmed(text, low, stop.end())
            low = stop.end()
    yield from _trimmed(text, low, end)


def _trimmed(text: str, low: int, high: int) -> Iterator[tuple[int, int]]:
    while low < high and text[low].isspace():
        low += 1
    while high > low and text[high - 1].isspace():
        high -= 1
    if low < high:
        yield low, high


def _ends_here(text: str, low: int, stop: re.Match[str], end: int) -> bool:
    mark = stop.group()[0]
    if mark in "!?\u3002\uff01\uff1f":
        return True
    if text[low : stop.start()].count("`") % 2:
        return False  # a full stop inside a code span
    words = text[low : stop.start()].split()
    last = words[-1].lstrip("([\"'*_\u201c").lower() if words else ""
    if last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha()) or not last:
        return False
    following = text[stop.end() : end].lstrip("\"'\u201c\u2018([*_`")[:1]
    if following.islower():
        # Names such as `rankgate` begin sentences in lower case; an ellipsis goes on.
        return not stop.group().startswith(("..", "\u2026")) and len(last) >= 2
    return True


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Paragraphs and list items: start, end, and whether it is an item."""
    open_at: int | None = None
    end, item, fenced, in_list, offset = 0, False, False, False, 0
    for line in text.splitlines(keepends=True):
        begin, offset = offset, offset + len(line)
        bare = line.strip()
        marker = _ITEM.match(line)
        closes = not bare or fenced or bool(_FENCE.match(line)) or _holds_none(line)
        if open_at is not None and _UNDERLINE.match(line):
            open_at, in_list = None, False  # the paragraph was a heading
            continue
        if _FENCE.match(line):
            fenced = not fenced
        is_code = open_at is None and not in_list and re.match(r" {4}|\t", line) is not None
        if closes or marker is not None or is_code:
            if open_at is not None:
                yield open_at, end, item
            open_at = None
        if closes or is_code:
            in_list = in_list and not _HEADING.match(line)
            continue
        if marker is not None:
            open_at, item, in_list = begin + marker.end(), True, True
        elif open_at is None:
            quote = _QUOTE.match(line)
            open_at = begin + (quote.end() if quote else 0)
            item = False
            in_list = in_list and line[:1].isspace()
        end = begin + len(line.rstrip())
    if open_at is not None:
        yield open_at, end, item


def _holds_none(line: str) -> bool:
    bare = line.strip()
    return bare.startswith("|") or any(
        pattern.match(line) for pattern in (_HEADING, _RULE, _HTML, _DEFINITION, _IMAGE)
    )


def clean(raw: str) -> str:
    """The text on one line, without Markdown and its backslashes; code spans stay as they are.

    Numeric reference marks such as `[3]` go, too: beside our own they would lie.
    """
    unquoted = re.sub(r"(?<=\n)[^\S\n]*(?:>\s?)+", "", raw)
    parts = re.split(r"(`+[^`]*`+)", unquoted)
    parts[::2] = [_without_markup(part) for part in parts[::2]]
    return " ".join("".join(parts).split())


def _without_markup(text: str) -> str:
    # An escaped reference mark is one for the reader, and goes like the others.
    text = re.sub(r"\\\[(\^?\d{1,3}(?:\s*[,;\u2013-]\s*\d{1,3})*)\\\]", r"[\1]", text)
    text = _ESCAPED.sub(lambda m: _WAITING[m.group(1)], text)
    return _without_marks(text).translate(_RESTORED)


def _without_marks(text: str) -> str:
    text = _PICTURE.sub(lambda m: "" if m[1] else m[0], text)
    text = re.sub(r"\[([^\]\[]+)\]\([^)\s\[]*(?:\s+\"[^\"]*\")?\)", r"\1", text)
    text = re.sub(r"\[([^\]\[]+)\]\[(?!\d*\])[^\]]*\]", r"\1", text)
    text = re.sub(r"\s?\[\^?\d{1,3}(?:\s*[,;\u2013-]\s*\d{1,3})*\]|\[\^[^\[\]]+\]", "", text)
    text = re.sub(r"<(https?://[^<>\s]+)>", r"\1", text)
    text = _INLINE_TAG.sub(" ", text)
    for strong in (_STARRED, _UNDERLINED):
        text = strong.sub(lambda m: m[0] if m[1] is None else m[1], text)
    text = re.sub(r"(?<![\w*])\*(\S|\S[^*]*?\S)\*(?![\w*])", r"\1", text)
    return re.sub(r"(?<!\w)_(\S|\S[^_]*?\S)_(?!\w)", r"\1", text)
