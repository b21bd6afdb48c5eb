"""What the best passages tell of whether they answer the question: absolute, and cheap.

A probability of relevance compares a passage with a question by their likeness. These features
say what likeness does not: whether the question's words stand *together* somewhere, whether the
longest of them stands anywhere, whether what is asked for (a date, a number, a name) is there at
all. Each is of one question and its passages, never of other lists.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from rankgate.retrieve.lexical import Term, coverage, terms_of
from rankgate.types import Candidate

__all__ = ["EVIDENCE", "LISTED", "evidence_of"]

EVIDENCE = (
    "best", "second", "fifth", "dense", "coverage", "together", "all_words", "longest", "words",
    "asked",
)  # fmt: skip
LISTED = 5
"""Passages that are looked at, best first."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_LEAST = -20.0  # logit in the place of a passage that is not there
_YEAR = re.compile(r"\b(?:1\d{3}|20\d\d)\b|\b\d{1,2}(?:st|nd|rd|th)?\s+[A-Z][a-z]{2,}\b|"
                   r"\b(?:January|February|March|April|May|June|July|August|September|October|"
                   r"November|December)\b")  # fmt: skip
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred|thousand|"
    r"million|billion|half|twice|dozen)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<=[\w,;:)\u2019'\"-] )[A-Z][\w'\u2019-]+")
_WHEN = re.compile(
    r"\b(?:when|(?:what|which) (?:year|date|day|month|century|time))\b", re.IGNORECASE
)
_MANY = re.compile(
    r"\bhow (?:many|much|long|old|tall|far|big|large|high|often|deep|fast|heavy)\b", re.IGNORECASE
)
_WHO = re.compile(r"\b(?:who|whom|whose|where|(?:what|which) (?:city|country|state|place|person|"
                  r"actor|author|company|team|band))\b", re.IGNORECASE)  # fmt: skip


def evidence_of(
    question: str, passages: Sequence[Candidate], logits: Sequence[float | None]
) -> dict[str, float]:
    """The named features; those that the first stage cannot know are absent.

    Args:
        passages: best first; the first five are looked at.
        logits: of the relevance model, for each of them.

    `best`, `second`, `fifth` are logits, `dense` the highest cosine; `coverage` the largest share
    of the question's words in one passage, `together` in two sentences that follow each other,
    `all_words` in all five; `longest` whether its longest word stands in any, `words` the
    logarithm of how many there are; `asked` whether what is asked for stands near the matched
    words: 1 yes, -1 no, 0 where the question names no kind.
    """
    head = passages[:LISTED]
    known = sorted((v for v in logits[:LISTED] if v is not None), reverse=True)
    terms, texts = terms_of(question), [c.text for c in head]
    found: dict[str, float] = {"words": float(np.log1p(len(terms)))}
    if known:
        found["best"] = known[0]
        found["second"] = known[1] if len(known) > 1 else _LEAST
        found["fifth"] = known[-1] if len(known) == LISTED else _LEAST
    cosines = [c.dense for c in head if c.dense is not None]
    if cosines and len(cosines) == len(head):
        found["dense"] = max(cosines)
    pairs = [pair for text in texts for pair in _pairs(text)]
    together = coverage(terms, pairs)
    longest = max(terms, key=lambda t: t.weight, default=None)
    best = pairs[int(together.argmax())] if together.size else ""
    return found | {
        "coverage": float(coverage(terms, texts).max(initial=0.0)),
        "together": float(together.max(initial=0.0)),
        "all_words": float(coverage(terms, [" ".join(texts)])[0]),
        "longest": 0.0 if longest is None else float(coverage((longest,), texts).max(initial=0.0)),
        "asked": _asked(question, terms, best),
    }


def _pairs(text: str) -> list[str]:
    """Each two sentences that follow each other."""
    parts = [p for p in _SENTENCE.split(text) if p]
    return [" ".join(parts[i : i + 2]) for i in range(max(1, len(parts) - 1))] if parts else []


def _asked(question: str, terms: Sequence[Term], near: str) -> float:
    if _WHEN.search(question):
        return 1.0 if _YEAR.search(near) else -1.0
    if _MANY.search(question):
        return 1.0 if _NUMBER.search(near) else -1.0
    if _WHO.search(question):
        own = {t.text for t in terms}
        names = (m[0].casefold().removesuffix("'s") for m in _NAME.finditer(near))
        return 1.0 if any(n not in own for n in names) else -1.0
    return 0.0
