"""The first stage: dense and BM25, fused, with both scores on every candidate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rag_app.errors import UnknownDocumentError
from rankgate.errors import InputError
from rankgate.retrieve import (
    BM25Index,
    Fusion,
    fuse_candidates,
    list_depth,
    reciprocal_rank_fusion,
    top_entries,
)
from rankgate.types import Candidate

__all__ = ["AlsoSearched", "Embedder", "HybridFirstStage", "Index"]

# A document is replaced in milliseconds; twice in a row within one query is bad luck already.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AlsoSearched:
    """Another wording that is searched for beside the question, whose own weight is 1.

    Attributes:
        text: what to search for.
        weight: of its ranks in the fusion, above 0.
        why: `last_turn` and `history` (conversation), `spelling`, `llm`; for the trace.
    """

    text: str
    weight: float = 1.0
    why: str = ""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise InputError(f"the weight of a query must be above 0, got {self.weight}")


class Embedder(Protocol):
    """Gives unit vectors."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d) unit vectors of n texts."""
        ...


class Index(Protocol):
    """What the first stage needs of a store."""

    @property
    def embedder(self) -> Embedder:
        """The encoder that embedded the passages."""
        ...

    @property
    def bm25(self) -> BM25Index:
        """The BM25 index over the same passages."""
        ...

    def dense(self, vector: Any, k: int) -> Mapping[str, float]:
        """The k closest passages: id to cosine, best first."""
        ...

    def cosines(self, vector: Any, ids: Sequence[str]) -> Sequence[float]:
        """Cosines of the named passages, in that order."""
        ...

    def present(self, ids: Sequence[str]) -> Collection[str]:
        """Which of these passages there are at this moment."""
        ...

    def fetch(self, ids: Sequence[str]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Text and metadata of the named passages, in that order.

        Raises:
            UnknownDocumentError: a passage is not there.
        """
        ...


class HybridFirstStage:
    """Dense and BM25 retrieval over one store.

    Args:
        store: the opened index.
        fusion: how the two lists are merged; a policy section has it.

    """

    def __init__(self, store: Index, fusion: Fusion | None = None) -> None:
        self.store = store
        self.fusion = Fusion() if fusion is None else fusion

    def candidates(self, query: str, k: int, also: Sequence[AlsoSearched] = ()) -> list[Candidate]:
        """At most k candidates, best first by the fused order.

        How deep each list is read is `rankgate.retrieve.list_depth`: asking for fewer
        candidates never changes the order of those that remain. While documents are being
        written, a query sees what was there before or what is there after, passage by passage;
        what has just gone is passed over.

        Args:
            query: the question; the scores of every candidate are those for it alone.
            k: at most so many.
            also: further wordings; they decide which candidates there are and in which order,
                by reciprocal ranks, and never a score.
        """
        if k < 1 or not query.strip():
            return []
        further = [a for a in also if a.text.strip()]
        vectors = self.store.embedder.embed([query, *(a.text for a in further)])
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._fused(query, vectors, k, further)
            except UnknownDocumentError:
                # A passage went while it was being read: documents are being replaced.
                if attempt == _ATTEMPTS:
                    raise
        return []  # not reached

    def _fused(
        self, query: str, vectors: npt.NDArray[np.float32], k: int, also: Sequence[AlsoSearched]
    ) -> list[Candidate]:
        depth = list_depth(k)
        # One BM25 index for the whole query: while documents are written, another follows when
        # they are done. Chroma and the manifest are ahead of it by then.
        bm25 = self.store.bm25
        texts = [query, *(a.text for a in also)]
        dense = [self.store.dense(vector, depth) for vector in vectors]
        terms = [bm25.search(text, depth) for text in texts]
        there = self.store.present(
            list(dict.fromkeys(i for found in (*dense, *terms) for i in found))
        )
        dense = [{i: s for i, s in d.items() if i in there and i in bm25} for d in dense]
        terms = [{i: s for i, s in t.items() if i in there} for t in terms]

        def of_all_wordings(depth: int) -> list[tuple[str, float]]:
            fused = [
                self.fusion.fuse(top_entries(d, depth), top_entries(t, depth))
                for d, t in zip(dense, terms, strict=True)
            ]
            return reciprocal_rank_fusion(
                [[i for i, _ in one] for one in fused],
                k=self.fusion.rrf_k,
                weights=[1.0, *(a.weight for a in also)],
            )

        return fuse_candidates(
            dense=dense[0],
            bm25=terms[0],
            fusion=self.fusion,
            k=k,
            missing_dense=lambda ids: self.store.cosines(vectors[0], ids),
            missing_bm25=lambda ids: bm25.scores(query, ids),
            fetch=self.store.fetch,
            fused_at=of_all_wordings if also else None,
        )
