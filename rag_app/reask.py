"""Questions that are asked again: the same person, within minutes, in the same or other words.

Whoever does that was not helped by what was shown. What is taken for it goes into the feedback
log as a verdict against passages, so a doubtful case is none: two questions with different
numbers, names or negations are different questions, however alike they read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from rag_app.conversations import Turn
from rag_app.generate.words import content_words

__all__ = ["CLOSE", "WITHIN", "asked_again"]

WITHIN = timedelta(minutes=10)
"""Later than this, the same question is a new need."""

CLOSE = 0.9
"""Cosine from which two wordings are one question, where nothing else speaks against it."""

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
# Words that turn a question around; "on" and "off" are stop words elsewhere.
_TURNING = frozenset(
    "not no never none without with before after on off in out up down over under above below "
    "more less most least first last from into until since only except instead "
    "min max minimum maximum start stop open close opened closed best worst".split()
)


def asked_again(
    question: str,
    before: Sequence[Turn],
    now: datetime,
    *,
    close: Callable[[str, str], float] | None = None,
) -> Turn | None:
    """The latest turn whose question this is, asked anew; None where it is another question.

    Args:
        question: the new one.
        before: earlier turns of the same conversation, oldest first.
        now: when the new one came, with a time zone.
        close: cosine of two texts; None: only the same words count.
    """
    recent = [t for t in before if timedelta(0) <= now - t.asked <= WITHIN]
    return next((t for t in reversed(recent) if _same(question, t.question, close)), None)


def _same(one: str, other: str, close: Callable[[str, str], float] | None) -> bool:
    if _plain(one) == _plain(other):
        return True
    if _particulars(one) != _particulars(other):
        return False
    if content_words(one) == content_words(other):
        return True
    return close is not None and close(one, other) >= CLOSE


def _plain(text: str) -> list[str]:
    return [w.lower() for w in _WORD.findall(text)]


def _particulars(text: str) -> frozenset[str]:
    """Numbers, names (capitals after the first word), and what turns a question around."""
    words = _WORD.findall(text)
    names = {w.lower() for w in words[1:] if w[:1].isupper()}
    telling = {w.lower() for w in words if any(c.isdigit() for c in w) or w.lower() in _TURNING}
    negated = {"not" for w in words if w.lower().endswith(("n't", "n\u2019t"))}
    return frozenset(names | telling | negated)
