"""Questions that are asked again: the same person, within minutes, in the same words.

Whoever does that was not helped by what was shown. What is taken for it goes into the feedback
log as a verdict against passages, so a doubtful case is none: both questions have to stand alone
(the same "And on Linux?" asks about something else after another turn), and neither has a word
that the other lacks. How alike two vectors are decides nothing: advantages and disadvantages of
the same thing, or notice periods of tenants and of landlords, are closer than most paraphrases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rag_app.ask.conversations import Turn
from rag_app.ask.standalone import stands_alone
from rankgate.judge.words import content_words

WITHIN = timedelta(minutes=10)
"""Later than this, the same question is a new need."""

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
# Words that two wordings of one question may differ in. No other stop word is among them: "when"
# and "where", "must" and "may", "by" and "to" ask for different things.
_SLIGHT = frozenset("a an the do does is are please".split())


def asked_again(
    question: str, before: Sequence[Turn], now: datetime, *, mended: str | None = None
) -> Turn | None:
    """The latest turn whose question this is, asked anew; None where it is another question.

    Args:
        before: earlier turns of the same conversation, oldest first.
        now: when the new one came, with a time zone.
        mended: the new one with its misspelt words corrected; None: there were none.
    """
    if not stands_alone(question):
        return None
    recent = [t for t in before if timedelta(0) <= now - t.asked <= WITHIN]
    return next((t for t in reversed(recent) if _same(question, mended, t)), None)


def mended_spelling(details: Mapping[str, Any]) -> str | None:
    """The corrected wording that was searched beside a question, in an answer's details."""
    also = details.get("also_searched", ())
    return next((a["text"] for a in also if a["why"] == "spelling"), None)


def _same(question: str, mended: str | None, turn: Turn) -> bool:
    if not stands_alone(turn.question):
        return False
    if _alike(question, turn.question):
        return True
    # One of the two was misspelt. Where both are mended, two guesses would have to be right.
    earlier = mended_spelling(turn.details)
    return (mended is not None and _alike(mended, turn.question)) or (
        earlier is not None and _alike(question, earlier)
    )


def _alike(one: str, other: str) -> bool:
    """The same words in the same order; a clause at the end may have moved to the front.

    "Can I convert PDF to Word?" and "Can I convert Word to PDF?" have the same words, too.
    """
    first, second = _stems(one), _stems(other)
    if len(first) != len(second):
        return False
    return any(first[i:] + first[:i] == second for i in range(max(1, len(first))))


def _stems(text: str) -> list[frozenset[str]]:
    words = (w.lower().replace("\u2019", "'") for w in _WORD.findall(text))
    return [content_words(w) for w in words if w not in _SLIGHT]
