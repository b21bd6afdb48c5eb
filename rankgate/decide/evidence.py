"""What the best passages tell of whether they hold the answer, before anybody reads them."""

from __future__ import annotations

from collections.abc import Sequence

from rankgate.retrieve.lexical import coverage, terms_of
from rankgate.types import Candidate

__all__ = ["EVIDENCE", "LISTED", "evidence_of"]

EVIDENCE = ("best", "gap", "dense", "coverage")
LISTED = 5
"""Passages that are looked at, best first."""


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
    passage.
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
    return found | {"coverage": float(coverage(terms_of(question), texts).max(initial=0.0))}
