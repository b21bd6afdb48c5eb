"""Content words: what two texts must share to speak of the same thing."""

from __future__ import annotations

import functools
import re

__all__ = ["content_words", "overlap", "stem", "tells"]

_WORD = re.compile(r"\w+")
_ASKING = frozenset(
    "what which who whom whose when where why how does do did done can could should would may "
    "might must have has had were been being am i you we he she them me my your our its it's "
    "any some there here than too very also just only so".split()
)
_ENDINGS = ("ings", "ing", "edly", "ies", "ied", "ed", "es", "s")


def tells(word: str) -> bool:
    """Whether a lower-case word is no stop word."""
    return word not in _stop_words()


@functools.cache
def _stop_words() -> frozenset[str]:
    from bm25s.stopwords import STOPWORDS_EN  # brings scipy: not for those who only rerank

    return _ASKING | frozenset(STOPWORDS_EN)


def stem(word: str) -> str:
    """A crude stem, the same for question and passage; it is compared, never shown."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def content_words(text: str) -> frozenset[str]:
    """Stems of the words that are not stop words; all words where nothing else is left."""
    words = _WORD.findall(text.lower().replace("_", " "))
    telling = [w for w in words if tells(w)]
    return frozenset(stem(w) for w in (telling if telling else words))


def overlap(wanted: frozenset[str], text: str) -> float:
    """Share of `wanted` that the text contains, in [0, 1]; 0 where nothing is wanted."""
    return len(wanted & content_words(text)) / len(wanted) if wanted else 0.0
