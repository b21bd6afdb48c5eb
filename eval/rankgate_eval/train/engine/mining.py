"""Finds passages that look right and are not: what a reranker has to tell apart.

Random passages teach nothing about the top of a list. So negatives come from the first stage's
own top, and those that may be answers nobody has labelled are left out by a stated rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rankgate.decide.signals import Signals, compute_signals
from rankgate.errors import InputError
from rankgate.retrieve import DEFAULT_K, Analyser, BM25Index, Fusion, fuse_candidates, list_depth
from rankgate.types import Candidate
from rankgate_eval.train.engine.data import TrainingCorpus, TrainingQuery

__all__ = ["Embedder", "MarginRule", "Mined", "Miner"]


class Embedder(Protocol):
    """What gives sentence vectors; `rankgate.encoders.TokenEncoder` is one."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d) unit vectors."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginRule:
    """When a passage is not used as a negative, although nobody has called it relevant.

    A passage is left out as a *likely false negative* where dense and BM25 both give it at
    least `margin` times the best positive's score: two rankers that fail in different ways
    agree that it is about as good. (One alone is what a reranker must learn to overrule; with
    one ranker this is "positive-aware mining", NV-Retriever, arXiv 2407.15831, which found 0.95.)
    It is left out as a *duplicate* of a positive where the word sets have a Jaccard index of
    `jaccard`, or `containment` of the smaller stands in the larger, or the cosine reaches
    `cosine`.
    """

    margin: float = 0.95
    jaccard: float = 0.8
    containment: float = 0.9
    cosine: float = 0.95

    def __post_init__(self) -> None:
        for name in ("margin", "jaccard", "containment", "cosine"):
            value = getattr(self, name)
            # Above 1 a passage must beat the positive clearly to be taken for an answer.
            most = 2.0 if name == "margin" else 1.0
            if not 0.0 < value <= most:
                raise InputError(f"{name} must be in (0, {most:g}], got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """One question with its candidates.

    Attributes:
        query: the question.
        candidates: the fused first stage, best first, with both scores; positives included
            where the first stage found them.
        signals: of the candidates.
        negatives: ids fit for lists, hardest first: known ones, then mined ones.
        doubted: those mined ones of which one of the two rankers says what the rule wants both
            to say; mining with the model leaves them out where the model says so too.
        excluded: ids that the rule left out, and why: `duplicate` or `likely_relevant`.
    """

    query: TrainingQuery
    candidates: tuple[Candidate, ...]
    signals: Signals
    negatives: tuple[str, ...]
    doubted: frozenset[str]
    excluded: Mapping[str, str]


class Miner:
    """Searches one corpus by meaning and by words.

    Args:
        corpus: whose passages are searched.
        embedder: for the dense list and the cosines; None: BM25 alone, and then BM25 alone
            decides what is likely relevant.
        rule: what is left out.
        k: candidates of each question.
    """

    def __init__(
        self,
        corpus: TrainingCorpus,
        *,
        embedder: Embedder | None = None,
        rule: MarginRule | None = None,
        k: int = DEFAULT_K,
    ) -> None:
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        self.corpus = corpus
        self.rule = MarginRule() if rule is None else rule
        self.k = k
        self.ids = list(corpus.passages)
        self._position = {identifier: i for i, identifier in enumerate(self.ids)}
        self._embedder = embedder
        self.bm25 = BM25Index.build(corpus.passages.items())
        texts = list(corpus.passages.values())
        self._vectors = None if embedder is None else embedder.embed(texts)
        self._words = [frozenset(terms) for terms in Analyser().terms(texts)]

    def mine(self, queries: Sequence[TrainingQuery]) -> list[Mined]:
        """Candidates and negatives of each question, in input order."""
        vectors: Sequence[npt.NDArray[np.float32] | None] = [None] * len(queries)
        if self._embedder is not None and queries:
            vectors = list(self._embedder.embed([q.text for q in queries]))
        return [self._one(q, v) for q, v in zip(queries, vectors, strict=True)]

    def _one(self, query: TrainingQuery, vector: npt.NDArray[np.float32] | None) -> Mined:
        terms = self.bm25.all_scores(query.text)
        cosines = None
        if vector is not None and self._vectors is not None:
            cosines = np.clip(self._vectors @ vector, -1.0, 1.0)
        candidates = self._candidates(terms, cosines)
        excluded: dict[str, str] = {}
        mined: list[str] = []
        doubted: set[str] = set()
        known = [n for n in query.negatives if n not in query.positives]
        good = [self._position[p] for p in query.positives]
        for candidate in candidates:
            if candidate.id in query.positives or candidate.id in known:
                continue
            here = self._position[candidate.id]
            if any(self._alike(here, p) for p in good):
                excluded[candidate.id] = "duplicate"
                continue
            rankers = [terms] if cosines is None else [terms, cosines]
            agree = [_reaches(scores, here, good, self.rule.margin) for scores in rankers]
            if all(agree):
                excluded[candidate.id] = "likely_relevant"
                continue
            mined.append(candidate.id)
            if any(agree):
                doubted.add(candidate.id)
        return Mined(
            query=query,
            candidates=tuple(candidates),
            signals=compute_signals(query.text, candidates, lexicon=self.bm25.lexicon),
            negatives=(*known, *mined),
            doubted=frozenset(doubted),
            excluded=excluded,
        )

    def _candidates(
        self, terms: npt.NDArray[np.float32], cosines: npt.NDArray[np.float32] | None
    ) -> list[Candidate]:
        depth = list_depth(self.k)
        by_terms = [int(i) for i in np.argsort(-terms, kind="stable")[:depth] if terms[i] > 0]
        if cosines is None:
            return [
                Candidate(
                    id=self.ids[i],
                    text=self.corpus.passages[self.ids[i]],
                    rank=rank,
                    bm25=float(terms[i]),
                )
                for rank, i in enumerate(by_terms[: self.k], 1)
            ]
        near = cosines
        by_meaning = [int(i) for i in np.argsort(-near, kind="stable")[:depth]]
        return fuse_candidates(
            dense={self.ids[i]: float(near[i]) for i in by_meaning},
            bm25={self.ids[i]: float(terms[i]) for i in by_terms},
            fusion=Fusion(),
            k=self.k,
            missing_dense=lambda ids: [float(near[self._position[i]]) for i in ids],
            missing_bm25=lambda ids: [float(terms[self._position[i]]) for i in ids],
            fetch=lambda ids: [(self.corpus.passages[i], {}) for i in ids],
        )

    def _alike(self, a: int, b: int) -> bool:
        one, other = self._words[a], self._words[b]
        common = len(one & other)
        smaller = min(len(one), len(other))
        if smaller and common >= self.rule.jaccard * len(one | other):
            return True
        # A passage of a few words stands in every longer one.
        if smaller >= 8 and common >= self.rule.containment * smaller:
            return True
        if self._vectors is None:
            return False
        return float(self._vectors[a] @ self._vectors[b]) >= self.rule.cosine


def _reaches(
    scores: npt.NDArray[np.float32], here: int, good: Sequence[int], margin: float
) -> bool:
    best = float(scores[list(good)].max())
    # A positive without a matching word bounds nothing: every match would be above it.
    return best > 0.0 and float(scores[here]) >= margin * best
