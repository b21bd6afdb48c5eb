"""Finders: where a retriever's candidates come from, with their scores where there are any."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from llama_index.postprocessor.rankgate.nodes import candidates_from_nodes
from rankgate import Candidate
from rankgate.adapters.arguments import FirstStageLike
from rankgate.adapters.found import Found
from rankgate.errors import InputError
from rankgate.retrieve import CandidateSupplier
from rankgate.retrieve.spaces import Space

__all__ = [
    "CandidateFinder",
    "Finder",
    "FoundNodes",
    "RetrieverFinder",
]


FoundNodes = Found[NodeWithScore]
"""What a finder of this package gives."""


class Finder(Protocol):
    """A first stage, as the retriever sees it."""

    def find(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """At most k candidates; `asked` says whether the caller named k, or the policy did."""
        ...

    async def afind(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """`find` without blocking the event loop, where the first stage can."""
        ...


class RetrieverFinder:
    """Any LlamaIndex retriever.

    One that has `similarity_top_k` is asked for k through a shallow copy, so that the caller's
    own keeps its number. Another gives what it gives, cut to k where the caller named k.

    Args:
        retriever: the first stage.
        chroma_space: its scores are Chroma's `exp(-distance)` in this space and become cosines;
            None: they are not read, because their meaning is not known.

    Raises:
        InputError: not a retriever.
    """

    def __init__(self, retriever: BaseRetriever, *, chroma_space: Space | None = None) -> None:
        if not isinstance(retriever, BaseRetriever):
            raise InputError(
                f"retriever must be a LlamaIndex BaseRetriever, got {type(retriever).__name__}. "
                "An index gives one: index.as_retriever()."
            )
        self.retriever = retriever
        self.chroma_space = chroma_space

    def find(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """The retriever's nodes, its own events below ours."""
        child, sized = _asking_for(self.retriever, k)
        return self._found(child.retrieve(replace(query)), k if asked or sized else None)

    async def afind(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """`find` by the retriever's own async method."""
        child, sized = _asking_for(self.retriever, k)
        return self._found(await child.aretrieve(replace(query)), k if asked or sized else None)

    def _found(self, nodes: Sequence[NodeWithScore], k: int | None) -> FoundNodes:
        found = list(nodes) if k is None else list(nodes)[:k]
        return Found(
            candidates=candidates_from_nodes(found, chroma_space=self.chroma_space), items=found
        )


class CandidateFinder:
    """Something of the caller's that gives candidates itself, with every score it has.

    Args:
        first_stage: an object with `candidates(query, k)` and perhaps the coroutine function
            `acandidates`, or a callable, plain or async, of the same signature.

    Raises:
        InputError: neither.
    """

    def __init__(self, first_stage: FirstStageLike) -> None:
        self.supplier = CandidateSupplier(first_stage)

    def find(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """What `candidates` returns, as nodes too."""
        return self._found(self.supplier.candidates(query.query_str, k))

    async def afind(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """`acandidates` where there is one, otherwise `candidates` in a worker thread."""
        return self._found(await self.supplier.acandidates(query.query_str, k))

    def _found(self, candidates: list[Candidate]) -> FoundNodes:
        nodes = [
            NodeWithScore(node=TextNode(id_=c.id, text=c.text, metadata=dict(c.metadata)))
            for c in candidates
        ]
        return Found(candidates=candidates, items=nodes)


def _asking_for(retriever: BaseRetriever, k: int) -> tuple[BaseRetriever, bool]:
    """The retriever, or a shallow copy that gives k; and whether the number could be set."""
    own = getattr(retriever, "similarity_top_k", None)
    if isinstance(own, bool) or not isinstance(own, int):
        return retriever, False
    if own == k:
        return retriever, True
    child = copy.copy(retriever)
    try:
        child.similarity_top_k = k  # type: ignore[attr-defined]
    except AttributeError:  # readable only
        return retriever, False
    if retriever.similarity_top_k != own:  # type: ignore[attr-defined]
        # It lies in something that copy and original share: the caller's stays as it was.
        retriever.similarity_top_k = own  # type: ignore[attr-defined]
        return retriever, False
    return child, True
