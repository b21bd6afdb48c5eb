"""Metrics of an answer that need no language model: against the reference answers and qrels."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

KEYLESS_METRICS = ("containment", "token_f1", "string_similarity", "context_precision_qrels")
"""In the order in which they are shown; all in [0, 1], higher is better."""

_ARTICLES = frozenset({"a", "an", "the"})
_WORD = re.compile(r"[^\W_]+")


def answer_words(text: str) -> list[str]:
    """Words as SQuAD's evaluation compares them: lower case, no punctuation, no articles.

    (Rajpurkar et al., EMNLP 2016, arXiv 1606.05250.) Accents and letter forms are folded too.
    """
    folded = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in folded if not unicodedata.combining(c)).casefold()
    return [w for w in _WORD.findall(plain) if w not in _ARTICLES]


def containment(answer: str, references: Sequence[str]) -> float | None:
    """1 where the answer has the words of a reference in a row, else 0; None without one."""
    words = answer_words(answer)
    wanted = [w for w in map(answer_words, references) if w]
    if not wanted:
        return None
    return float(any(_inside(w, words) for w in wanted))


def token_f1(answer: str, references: Sequence[str]) -> float | None:
    """Harmonic mean of the words' precision and recall, of the best reference; None without."""
    words = Counter(answer_words(answer))
    wanted = [Counter(w) for w in map(answer_words, references) if w]
    if not wanted:
        return None
    return max(_f1(words, w) for w in wanted)


def string_similarity(answer: str, references: Sequence[str]) -> float | None:
    """Levenshtein's, as in Ragas' NonLLMStringSimilarity, to the nearest reference, in [0, 1].

    None where there is no reference, or rapidfuzz is not installed.
    """
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        return None
    return max((Levenshtein.normalized_similarity(r, answer) for r in references), default=None)


def context_precision(passages: Sequence[str], relevant: Collection[str]) -> float | None:
    """Ragas' average precision of the passages handed over, judged by qrels.

    Mean precision at the ranks of the relevant ones; 0 where none is among them, None where
    nothing is judged relevant at all. Like Ragas', it does not know what was left out.
    """
    if not relevant:
        return None
    hits, total = 0, 0.0
    for rank, passage in enumerate(passages, start=1):
        if passage in relevant:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0


def _inside(wanted: Sequence[str], words: Sequence[str]) -> bool:
    n = len(wanted)
    return any(list(words[i : i + n]) == list(wanted) for i in range(len(words) - n + 1))


def _f1(words: Counter[str], wanted: Counter[str]) -> float:
    shared = (words & wanted).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / words.total(), shared / wanted.total()
    return 2.0 * precision * recall / (precision + recall)
