"""Signals: what the gate may look at before the second stage, and nothing else.

Margins and entropies come from the dense and the BM25 scores, never from the fused ones:
RRF only knows ranks, so its margins say nothing about certainty.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.retrieve.lexical import Term, coverage, list_scores, terms_of
from rankgate.types import Candidate

__all__ = ["LEXICAL_SIGNALS", "Signals", "compute_signals", "query_words"]

LEXICAL_SIGNALS = (
    "coverage_top1",
    "lexical_margin_12",
    "lexical_margin_15",
    "lexical_entropy",
    "lexical_top1_agrees",
    "lexical_correlation_10",
)
"""Read from the candidates' own texts, for first stages that bring an order and no scores."""

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_NEGATION = frozenset(
    "not no never none without cannot nor neither isn't aren't wasn't weren't don't doesn't "
    "didn't can't couldn't won't wouldn't shouldn't hasn't haven't except excluding".split()
)
# Narrow on purpose: "when", "first" or "now" stand in ordinary questions and tell nothing.
_TEMPORAL = frozenset(
    "before after since until during latest newest recent recently currently previously "
    "formerly earlier yesterday tomorrow".split()
)
_CONDITIONAL = frozenset("if unless provided assuming otherwise".split())
_YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What is known about a query and its candidates before the second stage.

    A value is None where the first stage cannot know it. Dense margins are in cosine units.
    BM25 margins are shares of the top score, because BM25 grows with the query's length.
    Entropies are of the softmax of the standardised scores, divided by log(n): in [0, 1], 1
    where all candidates look alike. A margin over fewer candidates than it names is taken to
    the last one; a single candidate has margin 0 and entropy 0.

    Attributes:
        candidates: number of candidates.
        query_words: number of words of the query.
        unknown_share: share of the query's words that the corpus does not contain (typos,
            foreign words), in [0, 1].
        dense_top1: best cosine.
        bm25_top1: best BM25 score.
        top1_agrees: 1.0 where both lists put the same candidate first, else 0.0.
        overlap_10: share of the two top tens that is common, in [0, 1].
        rank_correlation_10: Spearman's rho of the two lists over the union of their top tens,
            in [-1, 1]; 0 where a list does not distinguish them.
        coverage_top1: share of the query's words that stand in the first candidate, in [0, 1].
        lexical_margin_12, ...: of BM25 over the candidates alone, see `rankgate.retrieve.lexical`,
            as shares of the top score.
        lexical_top1_agrees: 1.0 where the first candidate is also that list's best, else 0.0.
        lexical_correlation_10: Spearman's rho of that list and the order in which candidates came.
        terms: what coverage looks for, for relevance models; no signal of its own.
        negation, temporal, conditional, number: 1.0 where the query has such a marker.
        remaining_ms: time left when the gate looked.
        breaker_open: whether the scorer's breaker refuses calls.
    """

    candidates: int
    query_words: int
    unknown_share: float | None = None
    dense_top1: float | None = None
    dense_margin_12: float | None = None
    dense_margin_13: float | None = None
    dense_margin_15: float | None = None
    dense_entropy: float | None = None
    bm25_top1: float | None = None
    bm25_margin_12: float | None = None
    bm25_margin_13: float | None = None
    bm25_margin_15: float | None = None
    bm25_entropy: float | None = None
    top1_agrees: float | None = None
    overlap_10: float | None = None
    rank_correlation_10: float | None = None
    coverage_top1: float | None = None
    lexical_margin_12: float | None = None
    lexical_margin_15: float | None = None
    lexical_entropy: float | None = None
    lexical_top1_agrees: float | None = None
    lexical_correlation_10: float | None = None
    terms: tuple[Term, ...] | None = None
    negation: float = 0.0
    temporal: float = 0.0
    conditional: float = 0.0
    number: float = 0.0
    remaining_ms: float | None = None
    breaker_open: bool = False

    def values(self) -> dict[str, float | None]:
        """Every signal by name, as a number or None."""
        out: dict[str, float | None] = {}
        for f in fields(self):
            if f.name == "terms":
                continue
            value = getattr(self, f.name)
            out[f.name] = None if value is None else float(value)
        return out


def query_words(query: str) -> list[str]:
    """The query's words, lower-cased."""
    return _WORD.findall(query.lower().replace("\u2019", "'"))


def _shape(scores: npt.NDArray[np.float64], relative: bool) -> tuple[float, float, float, float]:
    """Margins 1-2, 1-3, 1-5 and the entropy of one list of scores."""
    n = scores.size
    if n < 2:
        return 0.0, 0.0, 0.0, 0.0
    ordered = np.sort(scores)[::-1]
    top = float(ordered[0])
    unit = top if relative else 1.0
    margins = [(top - float(ordered[min(k, n) - 1])) / unit if unit > 0 else 0.0 for k in (2, 3, 5)]
    std = float(scores.std())
    # A list that does not distinguish its candidates: below float noise, not "very certain".
    if std <= 1e-9 * max(1.0, abs(top)):
        return margins[0], margins[1], margins[2], 1.0
    z = (scores - scores.mean()) / std
    p = np.exp(z - z.max())
    p /= p.sum()
    entropy = float(-(p * np.log(np.maximum(p, 1e-300))).sum() / math.log(n))
    return margins[0], margins[1], margins[2], min(1.0, max(0.0, entropy))


def _ranks(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1, ties averaged."""
    _, inverse, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_rank = ends - (counts - 1) / 2.0
    result: npt.NDArray[np.float64] = mean_rank[inverse]
    return result


def _agreement(
    dense: npt.NDArray[np.float64], bm25: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Same first, overlap of the top tens, Spearman's rho over their union."""
    by_dense = np.argsort(-dense, kind="stable")
    by_bm25 = np.argsort(-bm25, kind="stable")
    depth = min(10, dense.size)
    a, b = set(by_dense[:depth].tolist()), set(by_bm25[:depth].tolist())
    both = np.array(sorted(a | b), dtype=np.intp)
    ra, rb = _ranks(dense[both]), _ranks(bm25[both])
    sa, sb = float(ra.std()), float(rb.std())
    rho = 0.0
    if sa > 0 and sb > 0:
        rho = float(((ra - ra.mean()) * (rb - rb.mean())).mean() / (sa * sb))
    agrees = 1.0 if by_dense[0] == by_bm25[0] and bm25.max() > 0 else 0.0
    return agrees, len(a & b) / depth, max(-1.0, min(1.0, rho))


def _column(values: Sequence[float | None]) -> npt.NDArray[np.float64] | None:
    if not values or any(v is None for v in values):
        return None
    return np.asarray(values, dtype=np.float64)


def _of_texts(query: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What the candidates' own texts tell, and the terms that were looked for."""
    terms, texts = terms_of(query), [c.text for c in candidates]
    if not texts:
        return {"terms": terms}
    scores = list_scores(terms, texts)
    came = -np.array([c.rank for c in candidates], dtype=np.float64)
    first = int(came.argmax())
    margin_12, _, margin_15, entropy = _shape(scores, relative=True)
    return {
        "terms": terms,
        "coverage_top1": float(coverage(terms, texts[first : first + 1])[0]),
        "lexical_margin_12": margin_12,
        "lexical_margin_15": margin_15,
        "lexical_entropy": entropy,
        "lexical_top1_agrees": float(scores[first] == scores.max() > 0.0),
        "lexical_correlation_10": _agreement(came, scores)[2],
    }


def compute_signals(
    query: str,
    candidates: Sequence[Candidate],
    *,
    lexicon: Collection[str] | None = None,
    remaining_ms: float | None = None,
    breaker_open: bool = False,
    lexical: bool = True,
) -> Signals:
    """Compute every signal once.

    Args:
        candidates: from the first stage, any order.
        lexicon: lower-cased words that the corpus contains; None: unknown words not judged.
        remaining_ms: time left, for the gate's eyes.
        breaker_open: whether the scorer would refuse the call.
        lexical: whether the candidates' texts are read too; False where nothing asks for it, since
            it takes a millisecond or two.
    """
    words = query_words(query)
    unknown = None
    if lexicon is not None:
        alphabetic = [w for w in words if not w.isnumeric()]
        unknown = sum(w not in lexicon for w in alphabetic) / len(alphabetic) if alphabetic else 0.0
    dense = _column([c.dense for c in candidates])
    bm25 = _column([c.bm25 for c in candidates])
    d = (None, None, None, None) if dense is None else _shape(dense, relative=False)
    s = (None, None, None, None) if bm25 is None else _shape(bm25, relative=True)
    agree: tuple[float | None, float | None, float | None] = (None, None, None)
    if dense is not None and bm25 is not None:
        agree = _agreement(dense, bm25)
    texts = _of_texts(query, candidates) if lexical else {}
    known = set(words)
    return Signals(
        candidates=len(candidates),
        query_words=len(words),
        unknown_share=unknown,
        dense_top1=None if dense is None else float(dense.max()),
        dense_margin_12=d[0],
        dense_margin_13=d[1],
        dense_margin_15=d[2],
        dense_entropy=d[3],
        bm25_top1=None if bm25 is None else float(bm25.max()),
        bm25_margin_12=s[0],
        bm25_margin_13=s[1],
        bm25_margin_15=s[2],
        bm25_entropy=s[3],
        top1_agrees=agree[0],
        overlap_10=agree[1],
        rank_correlation_10=agree[2],
        **texts,
        negation=float(not known.isdisjoint(_NEGATION)),
        temporal=float(not known.isdisjoint(_TEMPORAL) or bool(_YEAR.search(query))),
        conditional=float(not known.isdisjoint(_CONDITIONAL)),
        number=float(any(ch.isdigit() for ch in query)),
        remaining_ms=remaining_ms,
        breaker_open=breaker_open,
    )
