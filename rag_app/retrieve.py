"""The first stage: dense and BM25, fused, with both scores on every candidate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rag_app.errors import UnknownDocumentError
from rankgate.firststage import BM25Index, Fusion, fuse_candidates
from rankgate.types import Candidate

__all__ = ["Embedder", "HybridFirstStage", "Index"]

_DEPTH = 50
# A document is replaced in milliseconds; twice in a row within one query is bad luck already.
_ATTEMPTS = 5


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

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """At most k candidates, best first by the fused order.

        Both lists are read at least 50 deep whatever k is, so that asking for fewer
        candidates never changes the order of those that remain. While documents are being
        written, a query sees what was there before or what is there after, passage by passage;
        what has just gone is passed over.
        """
        if k < 1 or not query.strip():
            return []
        vector = self.store.embedder.embed([query])[0]
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._fused(query, vector, k)
            except UnknownDocumentError:
                # A passage went while it was being read: documents are being replaced.
                if attempt == _ATTEMPTS:
                    raise
        return []  # not reached

    def _fused(self, query: str, vector: npt.NDArray[np.float32], k: int) -> list[Candidate]:
        depth = max(k, _DEPTH)
        # One BM25 index for the whole query: while documents are written, another follows when
        # they are done. Chroma and the manifest are ahead of it by then.
        bm25 = self.store.bm25
        dense = self.store.dense(vector, depth)
        terms = bm25.search(query, depth)
        there = self.store.present([*dense, *terms])
        return fuse_candidates(
            dense={i: s for i, s in dense.items() if i in there and i in bm25},
            bm25={i: s for i, s in terms.items() if i in there},
            fusion=self.fusion,
            k=k,
            missing_dense=lambda ids: self.store.cosines(vector, ids),
            missing_bm25=lambda ids: bm25.scores(query, ids),
            fetch=self.store.fetch,
        )
