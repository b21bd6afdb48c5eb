"""What the best passages tell of whether they hold the answer, before anybody reads them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from rankgate.retrieve.lexical import Term, coverage, terms_of
from rankgate.texts import FUNCTION_WORDS
from rankgate.types import Candidate

__all__ = ["EVIDENCE", "LISTED", "evidence_of", "names_in"]

EVIDENCE = ("best", "gap", "dense", "coverage", "names")
LISTED = 5
"""Passages that are looked at, best first."""
_SPELT = 5  # letters from which on a misspelt name can be told from another
_CLOSE = 0.8
_LETTERS = "0-9A-Za-z\u00c0-\u024f\u0370-\u052f"  # of scripts that know capitals
_WORD = re.compile(f"[{_LETTERS}]+(?:[.\\-\u2019'/][{_LETTERS}]+)*")
_BEGINS = frozenset('.?!:;"\u201c\u201e\u00ab(')
_NOUNS_ARE_CAPITAL = frozenset(
    "der die das den dem des ein eine einen einem einer und ist sind wurde wird wer wie wann wo "
    "welche welcher welches woher warum".split()
)
"""Words of German, where a capital letter tells no name from a noun."""


def evidence_of(
    question: str, passages: Sequence[Candidate], logits: Sequence[float | None]
) -> dict[str, float]:
    """The named features; those that the first stage cannot know are absent.

    Args:
        question: the user's words.
        passages: best first; the first five are looked at.
        logits: of the relevance model, for each of them.

    `best` is the highest logit, `gap` what it is above the mean of the others, 0 where there are
    none; `dense` the highest cosine; `coverage` the largest share of the question's words in one
    passage; `names` the share of its names and numbers that stand in any of them, 1 without names:
    who asks for another thing than the passages speak of is answered with the wrong one.
    """
    head = passages[:LISTED]
    known = sorted((v for v in logits[:LISTED] if v is not None), reverse=True)
    found: dict[str, float] = {}
    if known:
        rest = known[1:]
        found = {"best": known[0], "gap": known[0] - sum(rest) / len(rest) if rest else 0.0}
    cosines = [c.dense for c in head if c.dense is not None]
    if cosines and len(cosines) == len(head):
        found["dense"] = max(cosines)
    texts = [c.text for c in head]
    found["coverage"] = float(coverage(terms_of(question), texts).max(initial=0.0))
    found["names"] = _names_there(terms_of(" ".join(names_in(question))), " ".join(texts))
    return found


def _names_there(names: Sequence[Term], text: str) -> float:
    """Their share in the text, long ones weighing more; who mistypes a name means that name."""
    if not names:
        return 1.0
    missing = [n for n in names if coverage((n,), [text])[0] == 0.0]
    if missing:
        words = {w for w in map(str.casefold, _WORD.findall(text)) if len(w) >= _SPELT}
        missing = [
            n
            for n in missing
            if len(n.text) < _SPELT
            or n.text[-1].isdigit()
            or not difflib.get_close_matches(n.text, words, n=1, cutoff=_CLOSE)
        ]
    return 1.0 - sum(n.weight for n in missing) / sum(n.weight for n in names)


def names_in(question: str) -> list[str]:
    """Words with a digit or a capital letter inside, and capital ones that begin no sentence.

    A plural's s is left off, so that the singular in a passage is the same name.
    """
    matches = list(_WORD.finditer(question))
    words = [m.group().casefold() for m in matches]
    capital = _NOUNS_ARE_CAPITAL.isdisjoint(words)
    shouted = question.isupper()
    found = []
    for match, word in zip(matches, words, strict=True):
        shown = re.sub(r"['\u2019]s$", "", match.group())
        before = question[: match.start()].rstrip()
        begins = not before or before[-1] in _BEGINS
        inside = any(c.isupper() for c in shown[1:]) and not shouted
        if word not in FUNCTION_WORDS and (
            inside
            or any(c.isdigit() for c in shown)
            or (capital and not begins and not shouted and shown[:1].isupper())
        ):
            found.append(shown[:-1] if len(shown) > 4 and shown.endswith("s") else shown)
    return found
