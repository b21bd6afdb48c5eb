"""Stores: any vector store as a first stage, with its scores as cosines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.retrievers import RetrieverLike
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from langchain_rankgate.documents import candidates_from_documents, document_id
from langchain_rankgate.finders import FoundDocuments, RetrieverFinder, refuse_unknown
from langchain_rankgate.settings import RetrieverSettings
from rankgate import Profile
from rankgate.adapters.arguments import as_count
from rankgate.adapters.embedders import chroma_embedder, is_chroma
from rankgate.adapters.found import Found
from rankgate.adapters.scores import Reading, ScoreReader
from rankgate.adapters.stores import stored_vectors
from rankgate.errors import InputError
from rankgate.retrieve.spaces import chroma_space

__all__ = ["SearchType", "StoreFinder", "StoreSearch", "StoreSettings", "finder_of"]

SearchType = Literal["similarity", "similarity_score_threshold", "mmr"]
"""As in LangChain's `as_retriever`."""

# These hand unknown arguments on or drop them without a word; other stores take any.
_TAKES = {
    "Chroma": ("filter", "where_document"),
    "FAISS": ("filter", "fetch_k", "score_threshold"),
    "InMemoryVectorStore": ("filter",),
}
_MMR = ("lambda_mult", "fetch_k")


class StoreSearch(TypedDict, total=False):
    """How a vector store is searched, as in its `as_retriever`.

    Attributes:
        search_type: `similarity`, `similarity_score_threshold` or `mmr`.
        search_kwargs: further arguments of every search, such as `k`, `filter`,
            `score_threshold`, `fetch_k` and `lambda_mult`.
        filter: of every search; the same as in `search_kwargs`. A mapping of metadata keys to
            values is turned into what a store in memory and Qdrant take; else as the store has it.
        space: `cosine`, `l2` or `ip`; None: found by looking. A wrong one is an error.
    """

    search_type: SearchType
    search_kwargs: Mapping[str, Any] | None
    filter: Any
    space: str | None


class StoreSettings(StoreSearch, RetrieverSettings, total=False):
    """What `RankGateRetriever.from_vectorstore` takes: how the store is searched, and the rest."""


class StoreFinder:
    """A vector store's own search, its scores made cosines where they can be.

    Args:
        vectorstore: any; see `ScoreReader` for what becomes of its scores.
        search_type, search_kwargs, filter, space: see `StoreSearch`.

    Raises:
        InputError: an argument that cannot be used.
        ConfigError: an unknown space.
    """

    def __init__(
        self,
        vectorstore: VectorStore,
        *,
        search_type: SearchType = "similarity",
        search_kwargs: Mapping[str, Any] | None = None,
        filter: Any = None,
        space: str | None = None,
    ) -> None:
        if not isinstance(vectorstore, VectorStore):
            raise InputError(
                f"vectorstore must be a LangChain VectorStore, got {type(vectorstore).__name__}. A "
                "retriever goes into from_retriever, anything else into from_first_stage."
            )
        if search_type not in ("similarity", "similarity_score_threshold", "mmr"):
            raise InputError(
                "search_type must be 'similarity', 'similarity_score_threshold' or 'mmr', got "
                f"{search_type!r}"
            )
        self.vectorstore = vectorstore
        self.search_type = search_type
        if search_kwargs is not None and not isinstance(search_kwargs, Mapping):
            raise InputError(f"search_kwargs must be a mapping, got {search_kwargs!r}")
        self.search_kwargs = {} if search_kwargs is None else dict(search_kwargs)
        if filter is not None:
            self.search_kwargs["filter"] = filter
        self.k = as_count("search_kwargs['k']", self.search_kwargs.pop("k", None))
        if search_type == "similarity_score_threshold" and "score_threshold" not in (
            self.search_kwargs
        ):
            raise InputError(
                "similarity_score_threshold needs search_kwargs={'score_threshold': …}"
            )
        names = [_TAKES[n] for n in _class_names(vectorstore) if n in _TAKES]
        self._takes = (*names[0], *_MMR, "score_threshold") if names else None
        self._check(self.search_kwargs)
        embeddings = vectorstore.embeddings
        self.scores = ScoreReader(
            type(vectorstore).__name__,
            embed_query=None if embeddings is None else embeddings.embed_query,
            embed_texts=None if embeddings is None else embeddings.embed_documents,
            vectors_of=stored_vectors(vectorstore),
            space=space,
            configured=chroma_space(vectorstore)
            if space is None and is_chroma(vectorstore)
            else None,
        )

    @property
    def profile(self) -> Profile:
        """The embedder and the space, as far as they are known yet."""
        return Profile(embedder=chroma_embedder(self.vectorstore), space=self.scores.space)

    def find(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """The k best by the store; further arguments are handed on."""
        size, arguments = self._asked(k, asked, kwargs)
        store = self.vectorstore
        if self.search_type == "mmr":
            near, diverse = self._diversified(size, arguments)
            scored = self._method() == "similarity_search_with_score"
            rows = store.similarity_search_with_score(query, **near) if scored else []
            chosen = store.max_marginal_relevance_search(query, **diverse)
            return self._found(query, chosen, _scores_of(chosen, rows))
        search = getattr(store, self._method())
        return self._found(query, *_apart(search(query, k=size, **arguments)))

    async def afind(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """`find` without blocking the event loop."""
        size, arguments = self._asked(k, asked, kwargs)
        store = self.vectorstore
        if self.search_type == "mmr":
            near, diverse = self._diversified(size, arguments)
            scored = self._method() == "similarity_search_with_score"
            rows = await store.asimilarity_search_with_score(query, **near) if scored else []
            chosen = await store.amax_marginal_relevance_search(query, **diverse)
            scores = _scores_of(chosen, rows)
        else:
            search = getattr(store, f"a{self._method()}")
            chosen, scores = _apart(await search(query, k=size, **arguments))
        if self.scores.settled:
            return self._found(query, chosen, scores)
        return await asyncio.to_thread(self._found, query, chosen, scores)

    def ls_params(self) -> dict[str, str]:
        """The store's class and its embeddings' class."""
        found = {"ls_vector_store_provider": type(self.vectorstore).__name__}
        embeddings = self.vectorstore.embeddings
        if embeddings is not None:
            found["ls_embedding_provider"] = type(embeddings).__name__
        return found

    def _asked(self, k: int, asked: bool, kwargs: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """How many are wanted, and the arguments of the store's search."""
        self._check(kwargs)
        arguments = {**self.search_kwargs, **kwargs}
        size = k if asked or self.k is None else self.k
        named = inspect.signature(self.vectorstore.similarity_search_with_score).parameters
        if "fetch_k" in named and arguments.get("filter") is not None:
            # FAISS filters afterwards, and of 20 by default.
            arguments.setdefault("fetch_k", max(20, 10 * size))
        if isinstance(arguments.get("filter"), Mapping):
            arguments["filter"] = _own_filter(self.vectorstore, arguments["filter"])
        return size, arguments

    def _check(self, arguments: Mapping[str, Any]) -> None:
        if self._takes is not None:
            refuse_unknown(arguments, self._takes, type(self.vectorstore).__name__)

    def _method(self) -> str:
        """The search that tells most, of those that the store has."""
        own = type(self.vectorstore)
        if self.search_type != "similarity_score_threshold":
            if own.similarity_search_with_score is not VectorStore.similarity_search_with_score:
                return "similarity_search_with_score"
            hook = "_similarity_search_with_relevance_scores"
            if getattr(own, hook) is getattr(VectorStore, hook):
                return "similarity_search"
        return "similarity_search_with_relevance_scores"

    def _diversified(
        self, k: int, arguments: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of the search that scores, and of the one that chooses among what it found."""
        fetch_k = arguments.get("fetch_k", max(20, 2 * k))
        near = {name: value for name, value in arguments.items() if name not in _MMR}
        return {**near, "k": fetch_k}, {**arguments, "k": k, "fetch_k": fetch_k}

    def _found(
        self, query: str, documents: Sequence[Document], scores: Sequence[float] | None
    ) -> FoundDocuments:
        if scores is None:
            why = f"scores_unread: {self.scores.what} returned no scores; its order is used alone"
            reading = Reading(cosines=None, notes=(why,))
        else:
            reading = self.scores.read(
                query,
                [document_id(d) for d in documents],
                [d.page_content for d in documents],
                scores,
                ordered=self.search_type != "mmr",
            )
        return Found(
            candidates=candidates_from_documents(documents, dense=reading.cosines),
            items=list(documents),
            depth=self.k,
            notes=reading.notes,
        )


def finder_of(given: RetrieverLike | VectorStore) -> StoreFinder | RetrieverFinder:
    """A first stage over a store or a retriever.

    A retriever that asks its store in one of the ways that LangChain's own does is its store,
    asked in that way with the scores; a subclass with a way of its own is left alone.
    """
    if isinstance(given, VectorStore):
        return StoreFinder(given)
    own = VectorStoreRetriever
    if (
        isinstance(given, own)
        and type(given)._get_relevant_documents is own._get_relevant_documents
        and type(given)._aget_relevant_documents is own._aget_relevant_documents
        and given.search_type in own.allowed_search_types
    ):
        return StoreFinder(
            given.vectorstore,
            search_type=given.search_type,  # type: ignore[arg-type]
            search_kwargs=given.search_kwargs,
        )
    return RetrieverFinder(given)


def _own_filter(store: VectorStore, equal: Mapping[str, Any]) -> Any:
    """A mapping of metadata keys to values in the form that the store takes."""
    names = _class_names(store)
    if "InMemoryVectorStore" in names:
        return lambda document: all(document.metadata.get(k) == v for k, v in equal.items())
    if "QdrantVectorStore" in names:
        from qdrant_client import models

        within = getattr(store, "metadata_payload_key", "metadata")
        return models.Filter(
            must=[
                models.FieldCondition(key=f"{within}.{k}", match=models.MatchValue(value=v))
                for k, v in equal.items()
            ]
        )
    return equal


def _apart(rows: Sequence[Any]) -> tuple[list[Document], list[float] | None]:
    """Documents and scores of rows; a search without scores gives documents alone."""
    if any(isinstance(row, Document) for row in rows):
        return list(rows), None
    return [document for document, _ in rows], [float(score) for _, score in rows]


def _scores_of(
    documents: Sequence[Document], rows: Sequence[tuple[Document, float]]
) -> list[float] | None:
    """The scores that these documents have among the rows; None: one is not there."""

    def key(document: Document) -> str:
        own = document_id(document)
        return document.page_content if own is None else own

    known = {key(document): float(score) for document, score in rows}
    found = [known.get(key(document)) for document in documents]
    return None if any(score is None for score in found) else [s for s in found if s is not None]


def _class_names(store: object) -> list[str]:
    return [base.__name__ for base in type(store).__mro__]
