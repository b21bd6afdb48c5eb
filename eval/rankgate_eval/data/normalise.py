"""Text made comparable: equal for the eye is equal for the check."""

from __future__ import annotations

import re
import unicodedata

_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """Unicode NFKC, case folded, white space collapsed and trimmed."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def normalised_words(text: str) -> list[str]:
    """The words of the normalised text, in order; punctuation is gone."""
    return _WORD.findall(normalised(text))
