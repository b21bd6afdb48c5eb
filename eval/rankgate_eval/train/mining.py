"""What the trainer learns from, and the passages in it that look right and are not.

Readers of other forms (triples, the feedback log, unlabelled documents, and the data sets of the
evaluation) all end in a `TrainingCorpus`. Random passages of it teach nothing about the top of a
list. So negatives come from the first stage's own top, and those that may be answers nobody has
labelled are left out by a stated rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rankgate.decide.signals import Signals, compute_signals
from rankgate.errors import InputError
from rankgate.retrieve import DEFAULT_K, Analyser, BM25Index, Embedder, MemoryIndex
from rankgate.types import Candidate, FirstStageKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingQuery:
    """A question and what is known about it.

    Attributes:
        id: unique in its corpus.
        positives: ids of passages that answer it; at least one.
        negatives: ids of passages that are known not to; mining adds others.
        group: queries of one group share a document; they are never on both sides of a split.
            "" stands for a group of its own.
    """

    id: str
    text: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCorpus:
    """Passages and the questions asked of them.

    Attributes:
        name: of the folder or file, for cards and progress.
        passages: passage id to text, the title before it.
        queries: what may be learned from.
        licence: as the user stated it; the card repeats it.
        source: `beir`, `triples`, `feedback` or `documents`.

    Raises:
        InputError: a query without positives, an id that is no passage, or an id twice.
    """

    name: str
    passages: Mapping[str, str]
    queries: tuple[TrainingQuery, ...]
    licence: str = "not stated"
    source: str = "beir"
    fingerprint: str = field(init=False, default="")

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for query in self.queries:
            if query.id in seen:
                raise InputError(f"{self.name}: query id {query.id!r} stands twice")
            seen.add(query.id)
            if not query.positives:
                raise InputError(
                    f"{self.name}: query {query.id!r} has no positive passage; leave it out"
                )
            for passage in (*query.positives, *query.negatives):
                if passage not in self.passages:
                    raise InputError(
                        f"{self.name}: query {query.id!r} names passage {passage!r}, which is "
                        "not in the corpus"
                    )
        object.__setattr__(self, "fingerprint", _fingerprint(self))


def _fingerprint(corpus: TrainingCorpus) -> str:
    """sha256 over everything that training reads, so a card says exactly what was learned from.

    Independent of the order in which passages stand.
    """
    digest = hashlib.sha256()
    for identifier in sorted(corpus.passages):
        _add(digest, "p", identifier, corpus.passages[identifier])
    for query in corpus.queries:
        _add(digest, "q", query.id, query.text, *sorted(query.positives), "-", *query.negatives)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, *parts: str) -> None:
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)


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
        candidates: the fused first stage, best first, with both scores; positives included
            where the first stage found them.
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
        embedder: for the dense list and the cosines; None: BM25 alone, and then BM25 alone
            decides what is likely relevant.
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
        self._embedder = embedder
        texts = list(corpus.passages.values())
        self.index = MemoryIndex(
            corpus.passages,
            BM25Index.build(corpus.passages.items()),
            matrix=None if embedder is None else embedder.embed(texts),
        )
        self._words = [frozenset(terms) for terms in Analyser().terms(texts)]

    def mine(self, queries: Sequence[TrainingQuery]) -> list[Mined]:
        """Candidates and negatives of each question, in input order."""
        vectors: Sequence[npt.NDArray[np.float32] | None] = [None] * len(queries)
        if self._embedder is not None and queries:
            vectors = list(self._embedder.embed([q.text for q in queries]))
        return [self._one(q, v) for q, v in zip(queries, vectors, strict=True)]

    def _one(self, query: TrainingQuery, vector: npt.NDArray[np.float32] | None) -> Mined:
        asked = self.index.ask(query.text, vector=vector)
        hybrid = self.index.has_dense
        rankers = [asked.terms, asked.cosines] if hybrid else [asked.terms]
        kind = FirstStageKind.HYBRID if hybrid else FirstStageKind.BM25
        candidates = asked.candidates(self.k, kind=kind)
        excluded: dict[str, str] = {}
        mined: list[str] = []
        doubted: set[str] = set()
        known = [n for n in query.negatives if n not in query.positives]
        good = [self.index.position[p] for p in query.positives]
        for candidate in candidates:
            if candidate.id in query.positives or candidate.id in known:
                continue
            here = self.index.position[candidate.id]
            if any(self._alike(here, p) for p in good):
                excluded[candidate.id] = "duplicate"
                continue
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
            signals=compute_signals(
                query.text, candidates, lexicon=self.index.bm25.lexicon, lexical=False
            ),
            negatives=(*known, *mined),
            doubted=frozenset(doubted),
            excluded=excluded,
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
        matrix = self.index.matrix
        return matrix is not None and float(matrix[a] @ matrix[b]) >= self.rule.cosine


def _reaches(
    scores: npt.NDArray[np.float32], here: int, good: Sequence[int], margin: float
) -> bool:
    best = float(scores[list(good)].max())
    # A positive without a matching word bounds nothing: every match would be above it.
    return best > 0.0 and float(scores[here]) >= margin * best
