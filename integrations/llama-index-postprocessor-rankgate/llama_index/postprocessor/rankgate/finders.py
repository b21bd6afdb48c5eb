"""Finders: where a retriever's candidates come from, with their scores where there are any."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from llama_index.postprocessor.rankgate.nodes import FoundNodes, found_nodes
from rankgate import Candidate, FirstStageKind, Profile
from rankgate.adapters.arguments import FirstStageLike
from rankgate.adapters.embedders import embedder_name, is_chroma
from rankgate.adapters.found import Found
from rankgate.adapters.scores import ScoreReader
from rankgate.adapters.stores import stored_vectors
from rankgate.errors import InputError
from rankgate.retrieve import CandidateSupplier
from rankgate.retrieve.spaces import Space, chroma_space

__all__ = [
    "CandidateFinder",
    "Finder",
    "FoundNodes",
    "RetrieverFinder",
    "finder_of",
    "score_reader",
]


class Finder(Protocol):
    """A first stage, as the retriever sees it."""

    def find(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """At most k candidates; `asked` says whether the caller named k, or the policy did."""

    async def afind(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """`find` without blocking the event loop, where the first stage can."""


class RetrieverFinder:
    """Any LlamaIndex retriever, its nodes' scores made cosines where they can be.

    One that has `similarity_top_k` is asked for k through a shallow copy, so that the caller's
    own keeps its number. Another gives what it gives, cut to k where the caller named k.

    Args:
        retriever: the first stage.
        embed_model: what made the vectors that its scores compare; None: as a retriever of a
            vector index says, and where none does the scores are not read.
        space: `cosine`, `l2` or `ip`; None: found by looking. A wrong one is an error.
        chroma: the scores are Chroma's `exp(-distance)`; believed where nothing can be looked at.

    Raises:
        InputError: not a retriever.
        ConfigError: an unknown space.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        *,
        embed_model: BaseEmbedding | None = None,
        space: Space | None = None,
        chroma: bool = False,
    ) -> None:
        if not isinstance(retriever, BaseRetriever):
            raise InputError(
                f"retriever must be a LlamaIndex BaseRetriever, got {type(retriever).__name__}. "
                "An index gives one: index.as_retriever()."
            )
        self.retriever = retriever
        store = getattr(retriever, "_vector_store", None)
        own = getattr(retriever, "_embed_model", None) if store is not None else None
        self.embed_model = own if embed_model is None else embed_model
        self.scores: ScoreReader | None = None
        self._chroma_space = space if chroma and self.embed_model is None else None
        if self._chroma_space is None and (self.embed_model is not None or space is not None):
            self.scores = score_reader(
                type(retriever if store is None else store).__name__,
                self.embed_model,
                store=store,
                space=space,
            )
        mode = getattr(retriever, "_vector_store_query_mode", "default")
        self._ordered = str(getattr(mode, "value", mode)) != "mmr"

    @property
    def profile(self) -> Profile:
        """The embedder, and the space as far as it is known yet."""
        space = self._chroma_space if self.scores is None else self.scores.space
        return Profile(embedder=embedder_name(self.embed_model), space=space)

    def find(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """The retriever's nodes, its own events below ours."""
        child, sized = _asking_for(self.retriever, k)
        return self._found(query, child.retrieve(replace(query)), k, asked or sized)

    async def afind(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """`find` by the retriever's own async method."""
        child, sized = _asking_for(self.retriever, k)
        nodes = await child.aretrieve(replace(query))
        if self.scores is None or self.scores.settled:
            return self._found(query, nodes, k, asked or sized)
        return await asyncio.to_thread(self._found, query, nodes, k, asked or sized)

    def _found(
        self, query: QueryBundle, nodes: Sequence[NodeWithScore], k: int, cut: bool
    ) -> FoundNodes:
        found = found_nodes(
            query.query_str,
            list(nodes)[:k] if cut else list(nodes),
            scores=self.scores,
            ordered=self._ordered,
            chroma_space=self._chroma_space,
        )
        few = not cut and 0 < len(nodes) < k
        return replace(found, depth=len(nodes)) if few else found

    @property
    def kind(self) -> FirstStageKind:
        """Which scores its candidates will carry, unless looking shows that they cannot."""
        read = self.scores is not None or self._chroma_space is not None
        return FirstStageKind.DENSE if read else FirstStageKind.ORDER


def finder_of(given: BaseRetriever | BaseIndex[Any], **options: Any) -> RetrieverFinder:
    """A first stage over a retriever, or over an index's own; options as `RetrieverFinder` has."""
    child = given.as_retriever() if isinstance(given, BaseIndex) else given
    return RetrieverFinder(child, **options)


def score_reader(
    what: str,
    embed_model: BaseEmbedding | None,
    *,
    store: object = None,
    space: str | None = None,
) -> ScoreReader:
    """What finds out what node scores mean.

    Args:
        what: the store's name, for messages.
        embed_model: what made its vectors.
        store: LlamaIndex's vector store, asked for its vectors where it can be.
        space: as the caller says.
    """
    configured = chroma_space(store) if space is None and is_chroma(store) else None
    return ScoreReader(
        what,
        embed_query=None if embed_model is None else partial(_query_vector, embed_model),
        embed_texts=None if embed_model is None else partial(_text_vectors, embed_model),
        vectors_of=None if store is None else stored_vectors(store),
        space=space,
        configured=configured,
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


# Functions of ours, because LlamaIndex's traced methods cannot be pickled.
def _query_vector(embed_model: BaseEmbedding, query: str) -> list[float]:
    return embed_model.get_query_embedding(query)


def _text_vectors(embed_model: BaseEmbedding, texts: list[str]) -> list[list[float]]:
    return embed_model.get_text_embedding_batch(texts)


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
