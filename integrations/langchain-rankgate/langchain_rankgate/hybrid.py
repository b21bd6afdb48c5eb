"""Hybrid: BM25 over the passages of a vector store, beside the store's own search."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import Callbacks

from langchain_rankgate.finders import FoundDocuments
from langchain_rankgate.stores import StoreFinder
from rankgate import Candidate, FirstStageKind
from rankgate.adapters.found import Found
from rankgate.adapters.late import LateReranker
from rankgate.adapters.scores import ScoreReader
from rankgate.adapters.stores import listed
from rankgate.errors import ConfigError, InputError
from rankgate.retrieve import MemoryIndex, hybrid_candidates

__all__ = ["HybridFinder"]


class HybridFinder:
    """A vector store and BM25 over its passages, fused as the policy says.

    The passages are read with the first question, and again where the store finds one that was not
    there; `refresh` lets go of those that were deleted.

    Args:
        dense: the store; its scores must be cosines or its vectors known.
        engine: whose policy says how the lists are fused.

    Raises:
        InputError: the search is diversified, or filtered by more than equal values.
    """

    def __init__(self, dense: StoreFinder, engine: LateReranker) -> None:
        if dense.search_type != "similarity":
            raise InputError(
                f"hybrid=True fuses whole lists, and search_type={dense.search_type!r} leaves "
                "passages out: use search_type='similarity'"
            )
        self.dense = dense
        self.engine = engine
        self._index: tuple[dict[str, Candidate], MemoryIndex] | None = None
        _equal_values(dense.search_kwargs)

    @property
    def scores(self) -> ScoreReader:
        """Of the store."""
        return self.dense.scores

    def refresh(self) -> None:
        """Read the store's passages again with the next question."""
        self._index = None

    def find(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """The k best of both lists, each with its cosine and its BM25 score."""
        arguments = {**self.dense.search_kwargs, **kwargs}
        if self.index() is None:
            return Found(candidates=[])
        lists = _Lists(self, query, _equal_values(arguments), kwargs)
        own = self.dense.k
        size = k if asked or own is None else own
        fusion = self.engine.get().policy.section(FirstStageKind.HYBRID).fusion
        candidates = hybrid_candidates(lists, k=size, fusion=fusion, fetch=lists.fetch)
        return Found(candidates=candidates, depth=own)

    async def afind(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """`find` in a worker thread."""
        return await asyncio.to_thread(
            self.find, query, k, asked=asked, callbacks=callbacks, kwargs=kwargs
        )

    def ls_params(self) -> dict[str, str]:
        """Those of the store."""
        return self.dense.ls_params()

    def index(self) -> tuple[dict[str, Candidate], MemoryIndex] | None:
        """The store's passages by id, and BM25 over them; None: it has none.

        Raises:
            InputError: the store cannot list its passages.
        """
        if self._index is None:
            passages = {c.id: c for c in listed(self.dense.vectorstore)}
            if passages:
                texts = {i: c.text for i, c in passages.items()}
                self._index = passages, MemoryIndex.build(texts)
        return self._index


class _Lists:
    """What one question finds in a store, by meaning and by words."""

    def __init__(
        self,
        finder: HybridFinder,
        query: str,
        equal: Mapping[str, Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.finder = finder
        self.query = query
        self.equal = equal
        self.kwargs = kwargs
        self._read()

    def _read(self) -> None:
        found = self.finder.index()
        if found is None:
            raise InputError("the store was emptied while it was searched")
        self.passages, index = found
        equal = self.equal.items()
        others = (
            []
            if not equal
            else [
                i for i, c in self.passages.items() if any(c.metadata.get(k) != v for k, v in equal)
            ]
        )
        self.words = index.ask(self.query, hidden=others)
        self.bm25 = self.words.bm25
        self.bm25_scores = self.words.bm25_scores

    def dense(self, depth: int) -> dict[str, float]:
        found = self.finder.dense.find(
            self.query, depth, asked=True, callbacks=None, kwargs=self.kwargs
        )
        if any(c.dense is None for c in found.candidates):
            raise ConfigError(f"hybrid=True needs cosines, but {'; '.join(found.notes)}")
        if any(c.id not in self.passages for c in found.candidates):  # added since
            self.finder.refresh()
            self._read()
            lost = [c.id for c in found.candidates if c.id not in self.passages]
            if lost:
                raise ConfigError(
                    f"hybrid=True needs to list every passage, but {self.finder.scores.what} found "
                    f"{lost[0]!r}, which is not in its list"
                )
        return {c.id: c.dense for c in found.candidates if c.dense is not None}

    def dense_scores(self, ids: Sequence[str]) -> list[float]:
        texts = [self.passages[i].text for i in ids]
        return self.finder.scores.cosines_of(self.query, ids, texts)

    def fetch(self, ids: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
        return [(self.passages[i].text, self.passages[i].metadata) for i in ids]


def _equal_values(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The filter, where BM25 can apply it too."""
    others = [name for name in arguments if name not in ("filter", "fetch_k")]
    wanted = arguments.get("filter")
    plain = wanted is None or (
        isinstance(wanted, Mapping)
        and not any(k.startswith("$") or isinstance(v, Mapping | list) for k, v in wanted.items())
    )
    if others or not plain:
        what = others[0] if others else "this filter"
        raise InputError(
            f"{what} is the store's own, and BM25 beside it cannot apply it: with hybrid=True a "
            "filter is a mapping of metadata keys to the value that each must have"
        )
    return {} if wanted is None else wanted
