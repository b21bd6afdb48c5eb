"""What the words of a list tell of it, where the first stage hands over an order and no scores.

Two readings of the same matches. *Coverage* is a passage's own: the share of the question's words
that stand in it, long ones weighing more, so a floor may read it. The *list score* is BM25 over
the passages of the list alone, rare words weighing by how few of these have them; it compares the
passages of one list, so the gate may read its margins, and no probability may.

Any language: words are runs of letters, digits and marks; scripts that are written without spaces
(and Hangul, whose particles cling to the word) are read as pairs of characters.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.retrieve.scripts import PAIRED, pairs
from rankgate.texts import FUNCTION_WORDS

__all__ = ["Term", "coverage", "list_scores", "terms_of"]

FloatArray = npt.NDArray[np.float64]

_K1, _B = 1.5, 0.75
_TAIL = 4  # letters that an inflected form may have more than the question's
_LONG = 8  # letters from which on a word weighs no more
_PAIR = 4.0  # what two characters of a script read in pairs weigh: about a word's length
_PAIRED = re.compile(f"[{PAIRED}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One thing to look for.

    Attributes:
        text: case-folded, in Unicode's form NFKC.
        paired: characters of a script without spaces, found anywhere; else a word, found also with
            at most four letters behind it.
    """

    text: str
    paired: bool = False

    @property
    def weight(self) -> float:
        """Letters, up to eight: in most languages the words that tell nothing are short."""
        return _PAIR if self.paired else float(min(len(self.text), _LONG))


def _kind(char: str) -> int:
    """2: of a script read in pairs, 1: of a word, 0: neither."""
    if char.isascii():
        return int(char.isalnum())
    if _PAIRED.match(char):
        return 2 if char.isalnum() or unicodedata.category(char)[0] == "M" else 0
    return int(char.isalnum() or unicodedata.category(char)[0] == "M")


def _folded(text: str) -> str:
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()


def terms_of(query: str) -> tuple[Term, ...]:
    """The question's terms, each once, in order: without function words, unless there is no other.

    Empty where the question has no letter and no digit.
    """
    words, paired = [], []
    for kind, group in itertools.groupby(_folded(query), _kind):
        run = "".join(group)
        if kind == 1:
            words.append(run)
        elif kind == 2:
            paired += pairs(run)
    telling = [w for w in words if w not in FUNCTION_WORDS]
    if not telling and not paired:
        telling = words
    found = [Term(text=w) for w in telling] + [Term(text=p, paired=True) for p in paired]
    return tuple(dict.fromkeys(found))


def _count(text: str, term: Term) -> int:
    """How often a term stands in a folded text."""
    if term.paired:
        return text.count(term.text)
    count, at = 0, text.find(term.text)
    while at >= 0:
        end = at + len(term.text)
        if at == 0 or _kind(text[at - 1]) != 1:
            # Most words end here: what follows is looked at only as far as needed.
            tail = itertools.takewhile(lambda c: _kind(c) == 1, text[end : end + _TAIL + 1])
            count += sum(1 for _ in tail) <= _TAIL
        at = text.find(term.text, end)
    return count


def coverage(terms: Sequence[Term], texts: Sequence[str]) -> FloatArray:
    """(n,) share of the terms, by weight, that each text has, in [0, 1]; 0 without any term."""
    if not terms:
        return np.zeros(len(texts))
    share: FloatArray = (_counts(terms, texts) > 0) @ np.array([t.weight for t in terms])
    return share / sum(t.weight for t in terms)


def list_scores(terms: Sequence[Term], texts: Sequence[str]) -> FloatArray:
    """(n,) BM25 of texts that are all that their list holds; >= 0, comparable within it alone."""
    n = len(texts)
    if not n or not terms:
        return np.zeros(n)
    counts = _counts(terms, texts)
    lengths = np.array([len(text) for text in texts], dtype=np.float64)
    having = (counts > 0).sum(axis=0)
    # Lucene's variant, as of the index; lengths in characters, which every script has.
    rarity = np.log1p((n - having + 0.5) / (having + 0.5))
    norm = _K1 * (1.0 - _B + _B * lengths / max(1.0, float(lengths.mean())))
    scores: FloatArray = (counts / (counts + norm[:, None])) @ rarity
    return scores


def _counts(terms: Sequence[Term], texts: Sequence[str]) -> FloatArray:
    """(n, terms) how often each term stands in each text."""
    rows = [[_count(text, term) for term in terms] for text in map(_folded, texts)]
    return np.array(rows, dtype=np.float64).reshape(len(texts), len(terms))
