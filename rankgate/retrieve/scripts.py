"""Scripts that are written without blanks between words, or with marks inside them."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["IN_WORDS", "PAIRED", "in_pairs", "pairs", "spelt_alike"]

PAIRED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana, Han, and Hangul, whose particles cling to the word: inside a
regular expression's brackets."""
IN_WORDS = r"\w\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff"
"""What a word is made of, in the same place: `\\w` ends words at the vowel signs of Hindi."""

_RUN = re.compile(f"[{PAIRED}]+")
_ARABIC = re.compile("[\u0621-\u0669]+")
_VOWELS = re.compile("[\u0640\u064b-\u065f]")
_ARTICLE = re.compile(r"\A(?:[وبكف]?ال|لل)(?=\w\w)")
_ONE_LETTER = str.maketrans("أإآىة", "ااايه")


def pairs(run: str) -> list[str]:
    """Each two neighbours of a run of characters; a single one by itself."""
    return [run[i : i + 2] for i in range(max(1, len(run) - 1))]


def in_pairs(text: str) -> str:
    """The text, each run of a paired script replaced by its pairs between blanks."""
    return _RUN.sub(lambda m: f" {' '.join(pairs(_letters(m[0])))} ", text)


def spelt_alike(text: str) -> str:
    """Arabic words without article and short vowels, the variants of a letter as one.

    After Lucene's ArabicNormalizer and the prefixes of its light stemmer (Larkey and others,
    SIGIR 2002, doi 10.1145/564376.564425).
    """
    return _ARABIC.sub(
        lambda m: _ARTICLE.sub("", _VOWELS.sub("", m[0]).translate(_ONE_LETTER)), text
    )


def _letters(run: str) -> str:
    return "".join(c for c in run if c.isalnum() or unicodedata.category(c)[0] == "M")
