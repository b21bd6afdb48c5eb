"""Lead-ins: a sentence that ends with a colon is only whole with the lines it announces."""

from __future__ import annotations

import re
from dataclasses import replace

from rankgate.judge.sentences import Sentence, clean

_LINES = 3
_ITEMS = 12
_CHARACTERS = 240
_FENCE = re.compile(r"\s*(```|~~~)")
_ITEM = re.compile(r"\A\s*(?:[-*+\u2022]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?(?=\S)")
_HOLDS_NONE = re.compile(r"\s*(?:#|\||<|!\[|[-*_=]{3,}\s*$)")
_INDENTED = re.compile(r"(?: {4}|\t)\s*\S")


def completed(text: str, sentence: Sentence) -> Sentence:
    """The sentence with the first lines of the code, list or paragraph that it announces.

    A sentence that announces nothing, or after which the text ends or goes on with a heading
    or table, comes back as it is. At most three lines of code or twelve items are taken, and
    about 240 characters.

    Args:
        text: that the sentence was found in.
    """
    if not sentence.announces:
        return sentence
    lines = _following(text, sentence.end)
    while lines and not text[slice(*lines[0])].strip():
        lines.pop(0)
    if not lines:
        return sentence
    first = text[slice(*lines[0])]
    if _FENCE.match(first):
        taken = _until_fence(text, lines[1:])
        shown = " ".join(f"`{text[low:high].strip()}`" for low, high in taken)
    elif _ITEM.match(first):
        taken = _items(text, lines)
        shown = "; ".join(
            clean(_ITEM.sub("", text[low:high], 1)).rstrip(";") for low, high in taken
        )
    elif _INDENTED.match(first):
        taken = _while_indented(text, lines)
        shown = " ".join(f"`{text[low:high].strip()}`" for low, high in taken)
    elif _HOLDS_NONE.match(first):
        return sentence
    else:  # code whose layout was lost on the way, or plainly the next paragraph
        taken = _until_blank(text, lines)
        shown = clean(text[taken[0][0] : taken[-1][1]])
    if not taken:
        return sentence
    end = taken[-1][1]
    return replace(sentence, end=end, shown=f"{sentence.shown} {shown}", led=True)


def _following(text: str, start: int) -> list[tuple[int, int]]:
    """Spans of the next lines, without their ends; the rest of the current line left out."""
    found: list[tuple[int, int]] = []
    at = text.find("\n", start)
    if at < 0 or text[start:at].strip():
        return found
    while at >= 0 and len(found) < 12:
        stop = text.find("\n", at + 1)
        end = len(text) if stop < 0 else stop
        found.append((at + 1, at + 1 + len(text[at + 1 : end].rstrip())))
        at = stop
    return found


def _limited(spans: list[tuple[int, int]], most: int = _LINES) -> list[tuple[int, int]]:
    """The first few, the first one whatever its length."""
    kept: list[tuple[int, int]] = []
    for span in spans[:most]:
        if kept and span[1] - kept[0][0] > _CHARACTERS:
            break
        kept.append(span)
    return kept


def _until_fence(text: str, lines: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans = []
    for low, high in lines:
        if _FENCE.match(text[low:high]):
            break
        if text[low:high].strip():
            spans.append((low, high))
    return _limited(spans)


def _until_blank(text: str, lines: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans = []
    for low, high in lines:
        if not text[low:high].strip():
            break
        spans.append((low, high))
    return _limited(spans, _ITEMS)


def _while_indented(text: str, lines: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans = []
    for low, high in lines:
        if not text[low:high].strip():
            continue
        if not _INDENTED.match(text[low:high]):
            break
        spans.append((low, high))
    return _limited(spans)


def _items(text: str, lines: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Items; lines on which an item goes on belong to it."""
    spans: list[tuple[int, int]] = []
    apart = False
    for low, high in lines:
        line = text[low:high]
        if not line.strip():
            apart = True
        elif _ITEM.match(line):
            spans.append((low, high))
            apart = False
        elif spans and not apart:
            spans[-1] = (spans[-1][0], high)
        else:
            break
    return _limited(spans, _ITEMS)
