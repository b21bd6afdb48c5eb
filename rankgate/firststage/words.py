"""Content words of a text, and how many of a question's words a passage has."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["content_words", "coverage"]

_WORD = re.compile(r"\w+")
_STOP = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with what which who whom whose when where why how does do "
    "did done can could should would may might must have has had were been being am i you we he "
    "she them me my your our its it's any some here than too very also just only so".split()
)
_ENDINGS = ("ings", "ing", "edly", "ies", "ied", "ed", "es", "s")
# What may follow a stem in another form of the same word: "flu" is in "flus", not in "fluid".
_FORMS = frozenset(("", "e", "y", "d", "ly", *_ENDINGS, *(f"e{ending}" for ending in _ENDINGS)))
_LONGEST = max(map(len, _FORMS))


def _stem(word: str) -> str:
    """A crude stem, the same for question and passage; it is compared, never shown."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def content_words(text: str) -> frozenset[str]:
    """Stems of the words that are not English stop words; all words where nothing else is left."""
    words = _WORD.findall(text.lower().replace("_", " "))
    telling = [w for w in words if w not in _STOP]
    return frozenset(_stem(w) for w in (telling if telling else words))


def coverage(query: str, texts: Sequence[str]) -> float | None:
    """The largest share of the question's content words that one text has, in [0, 1].

    A word weighs log(1 + n / (1 + texts that have it)), so what all texts have counts for
    little. Forms of a word count as the word. None without texts or without a word in the
    question.
    """
    stems = sorted(content_words(query))
    if not stems or not texts:
        return None
    found: npt.NDArray[np.bool_] = np.array(
        [[_has(text, stem) for stem in stems] for text in (t.lower() for t in texts)]
    )
    weights = np.log1p(len(texts) / (1.0 + found.sum(axis=0)))
    return float((found @ weights).max() / weights.sum())


def _has(text: str, stem: str) -> bool:
    """Whether the lower-cased text has a form of the stem's word; a search in C, no split."""
    at = text.find(stem)
    while at >= 0:
        if at == 0 or not text[at - 1].isalnum():
            end = at + len(stem)
            after = text[end : end + _LONGEST + 1]
            rest = next((after[:i] for i, c in enumerate(after) if not c.isalnum()), after)
            if rest in _FORMS:
                return True
        at = text.find(stem, at + 1)
    return False
