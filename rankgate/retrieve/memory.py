"""An index in memory: dense and BM25, exact, from which passages can be hidden.

Evaluation, calibration, training and benchmarks search with it; numpy and bm25s are all it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate.retrieve.bm25 import Analyser, BM25Index
from rankgate.retrieve.fusion import Fusion
from rankgate.retrieve.hybrid import hybrid_candidates
from rankgate.retrieve.vector_cache import Encoder, Progress, VectorCache
from rankgate.types import Candidate, FirstStageKind

__all__ = ["MemoryIndex", "MemoryLists"]

FloatArray = npt.NDArray[np.float32]


class MemoryIndex:
    """Passages, searchable by cosine, by BM25 and by both.

    Searching is exact, not approximate. Thread-safe once built, as far as the encoder is.

    Args:
        corpus: passage id to text.
        bm25: over the same passages.
        encoder: of the questions; None: a question comes with its vector, or BM25 only.
        matrix: (n, d) unit vectors of the passages in corpus order; None: BM25 only.
        documents: passage id to document, for the candidates' metadata.
    """

    def __init__(
        self,
        corpus: Mapping[str, str],
        bm25: BM25Index,
        *,
        encoder: VectorCache | None = None,
        matrix: FloatArray | None = None,
        documents: Mapping[str, str] | None = None,
    ) -> None:
        self.corpus = corpus
        self.ids = list(corpus)
        self.bm25 = bm25
        self.matrix = matrix
        self._encoder = encoder
        self._documents = {} if documents is None else documents
        self.position = {identifier: i for i, identifier in enumerate(self.ids)}
        self._queries: dict[str, FloatArray] = {}

    @classmethod
    def build(
        cls,
        corpus: Mapping[str, str],
        *,
        encoder: Encoder | None = None,
        cache: str | Path | None = None,
        passages: Encoder | None = None,
        documents: Mapping[str, str] | None = None,
        analyser: Analyser | None = None,
        progress: Progress | None = None,
    ) -> MemoryIndex:
        """Index passages; encoding resumes where an earlier call was stopped.

        Args:
            corpus: passage id to text.
            encoder: for the dense list; None: BM25 only.
            cache: folder for the passages' vectors; None: they are not kept. Questions never
                are: what encoding them costs belongs to a latency that is measured.
            passages: reads the passages in the encoder's place, such as a `TokenCache` of it.
            documents: passage id to document.
            analyser: of BM25; None: the default one.
            progress: told how many passages are encoded.

        Raises:
            InputError: there are no passages, or the encoder returns nonsense.
            ConfigError: the cache cannot be opened.
        """
        if not corpus:
            raise InputError("an index needs passages, got none")
        bm25 = BM25Index.build(corpus.items(), analyser=analyser)
        if encoder is None:
            return cls(corpus, bm25, documents=documents)
        vectors = VectorCache(encoder if passages is None else passages, cache)
        try:
            matrix = vectors.embed(list(corpus.values()), progress=progress)
        finally:
            vectors.close()
        # Questions get a memory of their own that ends with the index.
        asked = VectorCache(encoder)
        return cls(corpus, bm25, encoder=asked, matrix=matrix, documents=documents)

    @property
    def has_dense(self) -> bool:
        """Whether there are vectors, for `dense` and `hybrid`."""
        return self.matrix is not None

    @property
    def encoder_name(self) -> str | None:
        """Of the model behind the vectors; None without any."""
        return None if self._encoder is None else self._encoder.name

    def ask(
        self, query: str, *, vector: FloatArray | None = None, hidden: Collection[str] = ()
    ) -> MemoryLists:
        """The lists of one question.

        Args:
            vector: (d,) its unit vector; None: the encoder's, made when it is first needed.
            hidden: passages that do not exist for this search. (BM25's term statistics still
                count them: a few passages of a corpus do not move them.)

        Raises:
            InputError: an unknown hidden passage.
        """
        try:
            gone = [self.position[identifier] for identifier in hidden]
        except KeyError as exc:
            raise InputError(
                f"hidden passage {exc.args[0]!r} is not in the index of {len(self.ids)}"
            ) from exc
        return MemoryLists(self, query, vector, gone)

    def search(
        self,
        query: str,
        k: int,
        *,
        kind: FirstStageKind | str = FirstStageKind.HYBRID,
        fusion: Fusion | None = None,
        hidden: Collection[str] = (),
        vector: FloatArray | None = None,
    ) -> list[Candidate]:
        """The k best passages, best first, with every score of that kind of first stage.

        Ties are broken by corpus order. A BM25 list holds only passages that share a term
        with the query, so it may be short.

        Args:
            k: candidates wanted, at least 1.
            kind: `hybrid`, `dense` or `bm25`.
            fusion: of a hybrid list; None: the default one.
            hidden: see `ask`.
            vector: see `ask`.

        Raises:
            InputError: k below 1, an unknown hidden passage, a kind that the index has not.
        """
        asked = self.ask(query, vector=vector, hidden=hidden)
        return asked.candidates(k, kind=kind, fusion=fusion)

    def fetch(self, ids: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
        """Text and metadata of the named passages, in that order."""
        return [
            (self.corpus[i], {"document": self._documents[i]} if i in self._documents else {})
            for i in ids
        ]

    def vector(self, query: str) -> FloatArray:
        """(d,) the question's unit vector, encoded once.

        Raises:
            InputError: the index has no encoder.
        """
        if self._encoder is None:
            raise InputError(
                "this index has no encoder: build it with encoder=, or search with kind='bm25'"
            )
        if query not in self._queries:
            self._queries[query] = self._encoder.embed([query])[0]
        return self._queries[query]

    def close(self) -> None:
        """Let go of the questions' memory; the index goes on with those that it has encoded."""
        if self._encoder is not None:
            self._encoder.close()


class MemoryLists:
    """One question's scores over a `MemoryIndex`, each kind computed when it is first needed.

    Args:
        vector: (d,) its unit vector; None: the index's encoder makes it.
        gone: rows that do not exist for this question.
    """

    def __init__(
        self, index: MemoryIndex, query: str, vector: FloatArray | None, gone: Sequence[int]
    ) -> None:
        self.index = index
        self.query = query
        self._vector = vector
        self._gone = list(gone)

    @cached_property
    def cosines(self) -> FloatArray:
        """(n,) of every passage in corpus order, in [-1, 1]; -inf for what is hidden.

        Raises:
            InputError: the index has no vectors.
        """
        vector = self.index.vector(self.query) if self._vector is None else self._vector
        if self.index.matrix is None:
            raise InputError(
                "this index has no vectors: build it with encoder=, or search with kind='bm25'"
            )
        cosines: FloatArray = np.clip(self.index.matrix @ vector, -1.0, 1.0)
        cosines[self._gone] = -np.inf
        return cosines

    @cached_property
    def terms(self) -> FloatArray:
        """(n,) BM25 score of every passage in corpus order; 0 for what is hidden."""
        scores = self.index.bm25.all_scores(self.query).copy()
        scores[self._gone] = 0.0
        return scores

    def dense(self, depth: int) -> dict[str, float]:
        """The nearest passages, at most `depth`: id to cosine, best first."""
        return self._best(self.cosines, depth, above=-np.inf)

    def bm25(self, depth: int) -> dict[str, float]:
        """The passages that share a term, at most `depth`: id to score, best first."""
        return self._best(self.terms, depth, above=0.0)

    def dense_scores(self, ids: Sequence[str]) -> list[float]:
        """Cosines of the named passages."""
        return [float(self.cosines[self.index.position[i]]) for i in ids]

    def bm25_scores(self, ids: Sequence[str]) -> list[float]:
        """BM25 scores of the named passages."""
        return [float(self.terms[self.index.position[i]]) for i in ids]

    def candidates(
        self,
        k: int,
        *,
        kind: FirstStageKind | str = FirstStageKind.HYBRID,
        fusion: Fusion | None = None,
    ) -> list[Candidate]:
        """See `MemoryIndex.search`."""
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        wanted = _kind(kind)
        if wanted is FirstStageKind.HYBRID:
            how = Fusion() if fusion is None else fusion
            return hybrid_candidates(self, k=k, fusion=how, fetch=self.index.fetch)
        by_terms = wanted is FirstStageKind.BM25
        found = self.bm25(k) if by_terms else self.dense(k)
        contents = self.index.fetch(list(found))
        return [
            Candidate(
                id=identifier,
                text=text,
                rank=rank,
                metadata=metadata,
                dense=None if by_terms else score,
                bm25=score if by_terms else None,
            )
            for rank, ((identifier, score), (text, metadata)) in enumerate(
                zip(found.items(), contents, strict=True), start=1
            )
        ]

    def _best(self, scores: FloatArray, depth: int, *, above: float) -> dict[str, float]:
        order = np.argsort(-scores, kind="stable")[:depth]
        return {self.index.ids[i]: float(scores[i]) for i in order if scores[i] > above}


def _kind(kind: FirstStageKind | str) -> FirstStageKind:
    kinds = (FirstStageKind.HYBRID, FirstStageKind.DENSE, FirstStageKind.BM25)
    if kind not in kinds:
        raise InputError(f"the index searches {', '.join(kinds)}; got {str(kind)!r}")
    return FirstStageKind(kind)
