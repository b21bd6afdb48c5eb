"""What two texts share, and what a question wants: words and numbers."""

from __future__ import annotations

import re

from rankgate.firststage.words import content_words

__all__ = ["asks_for_number", "has_number", "overlap"]

_ASKS_FOR_NUMBER = re.compile(
    r"\b(?:when|how (?:many|much|long|old|often|far|tall|big|large)|"
    r"(?:what|which) (?:year|date|day|number|age|percent|percentage))\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand|million|"
    r"half|once|twice)\b",
    re.IGNORECASE,
)


def overlap(wanted: frozenset[str], text: str) -> float:
    """Share of `wanted` that the text contains, in [0, 1]; 0 where nothing is wanted."""
    return len(wanted & content_words(text)) / len(wanted) if wanted else 0.0


def asks_for_number(question: str) -> bool:
    """Whether an English question wants a number or a date: when, how many, which year."""
    return _ASKS_FOR_NUMBER.search(question) is not None


def has_number(text: str) -> bool:
    """Whether a text has a digit or a spelled English number."""
    return _NUMBER.search(text) is not None
