"""The first stage: dense and BM25, fused, with both scores on every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rankgate.firststage import BM25Index, Fusion, fuse_candidates
from rankgate.types import Candidate

__all__ = ["Embedder", "HybridFirstStage", "Index"]

_DEPTH = 50


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

    def fetch(self, ids: Sequence[str]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Text and metadata of the named passages, in that order."""
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
        candidates never changes the order of those that remain.
        """
        if k < 1 or not query.strip():
            return []
        depth = max(k, _DEPTH)
        vector = self.store.embedder.embed([query])[0]
        return fuse_candidates(
            dense=self.store.dense(vector, depth),
            bm25=self.store.bm25.search(query, depth),
            fusion=self.fusion,
            k=k,
            missing_dense=lambda ids: self.store.cosines(vector, ids),
            missing_bm25=lambda ids: self.store.bm25.scores(query, ids),
            fetch=self.store.fetch,
        )
