"""An in-memory index over a data set: dense and BM25, from which passages can be removed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate.retrieve import Analyser, BM25Index, Fusion, fuse_candidates, list_depth
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.run.vector_cache import Encoder, Progress, VectorCache

__all__ = ["MemoryIndex"]


class MemoryIndex:
    """Passages, searchable by cosine, by BM25 and by both.

    Searching is exact, not approximate. Thread-safe once built, as far as the encoder is.

    Args:
        corpus: passage id to text.
        bm25: over the same passages.
        cache: encoder and its memory; None: BM25 only.
        matrix: (n, d) unit vectors of the passages in corpus order; with `cache`.
        documents: passage id to document, for the candidates' metadata.
    """

    def __init__(
        self,
        corpus: Mapping[str, str],
        bm25: BM25Index,
        *,
        cache: VectorCache | None = None,
        matrix: npt.NDArray[np.float32] | None = None,
        documents: Mapping[str, str] | None = None,
    ) -> None:
        self.corpus = corpus
        self.ids = list(corpus)
        self.bm25 = bm25
        self.matrix = matrix
        self._cache = cache
        self._documents = {} if documents is None else documents
        self._position = {identifier: i for i, identifier in enumerate(self.ids)}
        self._queries: dict[str, npt.NDArray[np.float32]] = {}

    @classmethod
    def build(
        cls,
        corpus: Mapping[str, str],
        *,
        encoder: Encoder | None = None,
        cache: str | Path | None = None,
        documents: Mapping[str, str] | None = None,
        analyser: Analyser | None = None,
        progress: Progress | None = None,
    ) -> MemoryIndex:
        """Index passages; encoding resumes where an earlier call was stopped.

        Args:
            corpus: passage id to text.
            encoder: for the dense list; None: BM25 only.
            cache: folder for vectors; None: they are not kept.
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
        vectors = VectorCache(encoder, cache)
        matrix = vectors.vectors(list(corpus.values()), progress=progress)
        return cls(corpus, bm25, cache=vectors, matrix=matrix, documents=documents)

    @property
    def has_dense(self) -> bool:
        """Whether there are vectors, for `dense` and `hybrid`."""
        return self.matrix is not None

    @property
    def encoder_name(self) -> str | None:
        """Of the model behind the vectors; None without any."""
        return None if self._cache is None else self._cache.encoder.name

    def encode_queries(self, queries: Sequence[str], *, progress: Progress | None = None) -> None:
        """Encode many queries at once, so that searching for each of them is only searching.

        Raises:
            InputError: the index has no vectors.
        """
        rows = self._vectors().vectors(queries, progress=progress)
        self._queries.update(zip(queries, rows, strict=True))

    def search(
        self,
        query: str,
        k: int,
        *,
        kind: FirstStageKind | str = FirstStageKind.HYBRID,
        fusion: Fusion | None = None,
        hidden: Collection[str] = (),
    ) -> list[Candidate]:
        """The k best passages, best first, with every score of that kind of first stage.

        Ties are broken by corpus order. A BM25 list holds only passages that share a term
        with the query, so it may be short.

        Args:
            query: the question.
            k: candidates wanted, at least 1.
            kind: `hybrid`, `dense` or `bm25`.
            fusion: of a hybrid list; None: the default one.
            hidden: passages that do not exist for this search. (BM25's term statistics still
                count them: a few passages of a corpus do not move them.)

        Raises:
            InputError: k below 1, an unknown hidden passage, a kind that the index has not.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        wanted = _kind(kind)
        gone = self._rows(hidden)
        if wanted is FirstStageKind.BM25:
            scores = self._terms(query, gone)
            best = self._best(scores, k, above=0.0)
            return [self._candidate(i, r, bm25=float(scores[i])) for r, i in enumerate(best, 1)]
        cosines = self._cosines(query, gone)
        if wanted is FirstStageKind.DENSE:
            best = self._best(cosines, k, above=-np.inf)
            return [self._candidate(i, r, dense=float(cosines[i])) for r, i in enumerate(best, 1)]
        scores = self._terms(query, gone)
        depth = list_depth(k)
        return fuse_candidates(
            dense=self._listed(cosines, self._best(cosines, depth, above=-np.inf)),
            bm25=self._listed(scores, self._best(scores, depth, above=0.0)),
            fusion=Fusion() if fusion is None else fusion,
            k=k,
            missing_dense=lambda ids: [float(cosines[self._position[i]]) for i in ids],
            missing_bm25=lambda ids: [float(scores[self._position[i]]) for i in ids],
            fetch=lambda ids: [(self.corpus[i], self._metadata(i)) for i in ids],
        )

    def close(self) -> None:
        """Close the cache; the index goes on with queries that it has encoded."""
        if self._cache is not None:
            self._cache.close()

    def _vectors(self) -> VectorCache:
        if self._cache is None:
            raise InputError(
                "this index has no vectors: build it with encoder=, or search with kind='bm25'"
            )
        return self._cache

    def _rows(self, hidden: Collection[str]) -> list[int]:
        try:
            return [self._position[identifier] for identifier in hidden]
        except KeyError as exc:
            raise InputError(
                f"hidden passage {exc.args[0]!r} is not in the index of {len(self.ids)}"
            ) from exc

    def _cosines(self, query: str, gone: Sequence[int]) -> npt.NDArray[np.float32]:
        cache = self._vectors()
        if query not in self._queries:
            self._queries[query] = cache.vectors([query])[0]
        if self.matrix is None:
            raise InputError("this index has no vectors: build it with encoder=")
        cosines: npt.NDArray[np.float32] = np.clip(self.matrix @ self._queries[query], -1.0, 1.0)
        cosines[gone] = -np.inf
        return cosines

    def _terms(self, query: str, gone: Sequence[int]) -> npt.NDArray[np.float32]:
        scores = self.bm25.all_scores(query).copy()
        scores[gone] = 0.0
        return scores

    def _best(self, scores: npt.NDArray[np.float32], k: int, *, above: float) -> list[int]:
        order = np.argsort(-scores, kind="stable")[:k]
        return [int(i) for i in order if scores[i] > above]

    def _listed(self, scores: npt.NDArray[np.float32], rows: Sequence[int]) -> dict[str, float]:
        return {self.ids[i]: float(scores[i]) for i in rows}

    def _metadata(self, identifier: str) -> dict[str, str]:
        document = self._documents.get(identifier)
        return {} if document is None else {"document": document}

    def _candidate(
        self, row: int, rank: int, *, dense: float | None = None, bm25: float | None = None
    ) -> Candidate:
        identifier = self.ids[row]
        return Candidate(
            id=identifier,
            text=self.corpus[identifier],
            rank=rank,
            metadata=self._metadata(identifier),
            dense=dense,
            bm25=bm25,
        )


def _kind(kind: FirstStageKind | str) -> FirstStageKind:
    kinds = (FirstStageKind.HYBRID, FirstStageKind.DENSE, FirstStageKind.BM25)
    if kind not in kinds:
        raise InputError(f"the index searches {', '.join(kinds)}; got {str(kind)!r}")
    return FirstStageKind(kind)
