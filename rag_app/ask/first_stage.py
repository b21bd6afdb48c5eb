"""The first stage: dense and BM25, fused, with both scores on every candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag_app.errors import UnknownDocumentError
from rankgate.errors import InputError
from rankgate.retrieve import BM25Index, Fusion, hybrid_candidates
from rankgate.types import Candidate

if TYPE_CHECKING:
    from rag_app.index.store import Store

# A document is replaced in milliseconds; twice in a row within one query is bad luck already.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AlsoSearched:
    """Another wording that is searched for beside the question, whose own weight is 1.

    Attributes:
        weight: of its ranks in the fusion, above 0.
        why: `last_turn` and `history` (conversation), `spelling`, `llm`; for the trace.
    """

    text: str
    weight: float = 1.0
    why: str = ""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise InputError(f"the weight of a query must be above 0, got {self.weight}")


class HybridFirstStage:
    """Dense and BM25 retrieval over one store.

    Args:
        fusion: how the two lists are merged; a policy section has it.
    """

    def __init__(self, store: Store, fusion: Fusion | None = None) -> None:
        self.store = store
        self.fusion = Fusion() if fusion is None else fusion

    def candidates(self, query: str, k: int, also: Sequence[AlsoSearched] = ()) -> list[Candidate]:
        """At most k candidates, best first by the fused order.

        How deep each list is read is `rankgate.retrieve.list_depth`: asking for fewer
        candidates never changes the order of those that remain. While documents are being
        written, a query sees what was there before or what is there after, passage by passage;
        what has just gone is passed over. Of passages with the same words, such as copies of a
        file, the best alone is there, and the next ones have the others' places.

        Args:
            query: the question; the scores of every candidate are those for it alone.
            also: further wordings; they decide which candidates there are and in which order,
                by reciprocal ranks, and never a score.
        """
        if k < 1 or not query.strip():
            return []
        further = [a for a in also if a.text.strip()]
        vectors = self.store.embedder.embed([query, *(a.text for a in further)])
        once: list[Candidate] = []
        for wanted in (k, 2 * k, 4 * k, 8 * k):  # deeper only where copies have places
            found = self._at_once(query, vectors, wanted, further)
            once = _without_copies(found)[:k]
            if len(once) == k or len(found) < wanted:
                break
        return [replace(c, rank=rank) for rank, c in enumerate(once, start=1)]

    def _at_once(
        self, query: str, vectors: npt.NDArray[np.float32], k: int, also: Sequence[AlsoSearched]
    ) -> list[Candidate]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._fused(query, vectors, k, also)
            except UnknownDocumentError:
                # A passage went while it was being read: documents are being replaced.
                if attempt == _ATTEMPTS:
                    raise
        return []  # not reached

    def _fused(
        self, query: str, vectors: npt.NDArray[np.float32], k: int, also: Sequence[AlsoSearched]
    ) -> list[Candidate]:
        # One BM25 index for the whole query: while documents are written, another follows when
        # they are done. Chroma and the manifest are ahead of it by then.
        bm25 = self.store.bm25
        texts = [query, *(a.text for a in also)]
        asked, *further = (
            _StoreLists(store=self.store, words=bm25, query=text, vector=vector)
            for text, vector in zip(texts, vectors, strict=True)
        )
        return hybrid_candidates(
            asked,
            k=k,
            fusion=self.fusion,
            fetch=self.store.fetch,
            also=[(lists, a.weight) for lists, a in zip(further, also, strict=True)],
            present=self.store.present,
        )


def _without_copies(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first of those with the same words; headings of title and file name apart."""
    first: dict[str, Candidate] = {}
    for c in candidates:
        body = c.text[int(c.metadata.get("body_offset", 0)) :]
        first.setdefault(" ".join(body.casefold().split()), c)
    return list(first.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreLists:
    """The two lists of one wording over a store, as `rankgate.retrieve.TwoLists`."""

    store: Store
    words: BM25Index
    query: str
    vector: npt.NDArray[np.float32]

    def dense(self, depth: int) -> dict[str, float]:
        found = self.store.dense(self.vector, depth)
        return {i: score for i, score in found.items() if i in self.words}

    def bm25(self, depth: int) -> dict[str, float]:
        return self.words.search(self.query, depth)

    def dense_scores(self, ids: Sequence[str]) -> Sequence[float]:
        return self.store.cosines(self.vector, ids)

    def bm25_scores(self, ids: Sequence[str]) -> Sequence[float]:
        return self.words.scores(self.query, ids)
