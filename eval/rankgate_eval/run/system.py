"""The system under test: whatever gives candidates for a query, and an adapter for each kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from rankgate.adapters.stores import comes_from
from rankgate.errors import InputError, MissingExtraError
from rankgate.profile import Profile
from rankgate.retrieve import Fusion, MemoryIndex
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.readers.run import Run
from rankgate_eval.run.collection_stage import CollectionStage

SYSTEMS = (
    "has candidates(query, k), or is a function of query and k, a vector store or retriever of "
    "LangChain, or an index or retriever of LlamaIndex"
)
"""What `--system` takes, for messages and help."""


@runtime_checkable
class FirstStage(Protocol):
    """Gives candidates, best first.

    Optional, found by name: `candidates_for(query_id, query, k)`, for systems such as a run file;
    `profile`, what is known of embedder and space; `words`, what it is; `notes`, sentences that a
    reader should know before the numbers.
    """

    def candidates(self, query: str, k: int) -> Sequence[Candidate]:
        """At most k candidates, best first, each with every score that the system has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStage:
    """An in-memory index as a first stage.

    Attributes:
        kind: `hybrid`, `dense` or `bm25`.
        fusion: of a hybrid list; None: the default one.
        hidden: query id to passages that do not exist for it: how a question is made
            unanswerable. Only `candidates_for` can know.
    """

    index: MemoryIndex
    kind: FirstStageKind = FirstStageKind.HYBRID
    fusion: Fusion | None = None
    hidden: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def profile(self) -> Profile:
        """The embedder and the analyser, where its lists are made by them."""
        dense = self.kind in (FirstStageKind.HYBRID, FirstStageKind.DENSE)
        terms = self.kind in (FirstStageKind.HYBRID, FirstStageKind.BM25)
        return Profile(
            embedder=self.index.encoder_name if dense else None,
            analyser=self.index.bm25.analyser.name if terms else None,
        )

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """The index's candidates, nothing hidden."""
        return self.index.search(query, k, kind=self.kind, fusion=self.fusion)

    def candidates_for(self, query_id: str, query: str, k: int) -> list[Candidate]:
        """The index's candidates without what is hidden from this query."""
        gone = self.hidden.get(query_id, ())
        return self.index.search(query, k, kind=self.kind, fusion=self.fusion, hidden=gone)


class RunStage:
    """A TREC run as a first stage: its order, without any score.

    A query that the run lacks has no candidates, which counts as finding nothing.

    Args:
        run: as `read_run` reads it.
        data: the data set whose texts the candidates carry.

    Attributes:
        notes: what a reader should know before the numbers.
    """

    def __init__(self, run: Run, data: Dataset) -> None:
        self.run = run
        self.data = data
        self.words = f"run {run.name}"
        self.notes = (
            "The first stage is a run file, so its own time is not in any latency.",
            *run.doubts(),
        )
        self._by_text: dict[str, list[str]] = {}
        for query_id, text in data.queries.items():
            self._by_text.setdefault(text, []).append(query_id)

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """The list of the query with this text.

        Raises:
            InputError: no query has this text, or several have it and different lists.
        """
        ids = self._by_text.get(query, [])
        lists = {self.run.lists.get(query_id, ()) for query_id in ids}
        if len(lists) != 1:
            problem = "several queries with different lists have" if ids else "no query has"
            raise InputError(
                f"{problem} the text {query[:80]!r}; a run is read by query id, with "
                "candidates_for(query_id, query, k)"
            )
        return self.candidates_for(ids[0], query, k)

    def candidates_for(self, query_id: str, query: str, k: int) -> list[Candidate]:
        """The first k of the query's list.

        Raises:
            InputError: the run names a passage that the corpus lacks.
        """
        return _resolved(self.run.lists.get(query_id, ())[:k], self.data.corpus)


class CallableStage:
    """A function of query and k, or an object's method, as a first stage.

    Args:
        function: returns candidates, or passage ids where `corpus` is given.
        corpus: passage id to text, for functions that return ids.
        profile: what is known of embedder and space, where the object says it.

    Raises:
        InputError: not callable, or a coroutine function.
    """

    def __init__(
        self,
        function: Callable[[str, int], Sequence[Any]],
        *,
        corpus: Mapping[str, str] | None = None,
        profile: Any = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"expected a function of query and k, got {type(function).__name__}")
        if inspect.iscoroutinefunction(function):
            raise InputError(
                "the system is a coroutine function: wrap it, such as "
                "lambda query, k: asyncio.run(system(query, k))"
            )
        self.function = function
        self.corpus = corpus
        self.profile = profile if isinstance(profile, Profile) else Profile()

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """What the function returns, ids turned into candidates.

        Raises:
            InputError: it returns neither candidates nor ids of the corpus.
        """
        return _resolved(self.function(query, k), self.corpus)


class RetrieverStage:
    """A retriever, vector store or index of LangChain or LlamaIndex as a first stage.

    It is asked as the adapters ask it, so what is measured is what they serve: k candidates where
    it takes that number, scores as cosines where they can be read, else the order alone. What only
    has `invoke` gives as many as it likes.

    Args:
        system: one of those, or something with `invoke`.
        id_key: the metadata key with the passage's id in the data set; None: the own id of
            document or node.

    Raises:
        MissingExtraError: it is of a framework whose adapter is not installed.
        ConfigError: the store's vector space is not understood.
    """

    def __init__(self, system: Any, *, id_key: str | None = None) -> None:
        self.id_key = id_key
        self._finder: Any = None
        if comes_from(system, "llama_index"):
            self._find = self._by_llama_index(system)
        elif comes_from(system, "langchain_core"):
            self._find = self._by_langchain(system)
        else:  # nobody can hand it a k, and its own number stands
            self._find = partial(_invoked, system)

    def _by_langchain(self, system: Any) -> Callable[[str, int], Sequence[Candidate]]:
        try:
            from langchain_rankgate.stores import finder_of
        except ImportError as exc:
            if callable(getattr(system, "invoke", None)):
                return partial(_invoked, system)
            raise MissingExtraError("a LangChain vector store under test", "app") from exc
        from langchain_core.retrievers import BaseRetriever
        from langchain_core.vectorstores import VectorStore

        if not isinstance(system, BaseRetriever | VectorStore):
            return partial(_invoked, system)
        self._finder = finder = finder_of(system)
        return lambda query, k: (
            finder.find(query, k, asked=True, callbacks=None, kwargs={}).candidates
        )

    def _by_llama_index(self, system: Any) -> Callable[[str, int], Sequence[Candidate]]:
        try:
            from llama_index.core.schema import QueryBundle

            from llama_index.postprocessor.rankgate.finders import finder_of
        except ImportError as exc:
            raise InputError(
                "a LlamaIndex index or retriever under test needs its adapter: pip install "
                "llama-index-postprocessor-rankgate"
            ) from exc
        self._finder = finder = finder_of(system)
        return lambda query, k: finder.find(QueryBundle(query), k, asked=True).candidates

    @property
    def profile(self) -> Profile:
        """The embedder and the vector space, as far as they are known yet."""
        found = getattr(self._finder, "profile", None)
        return found if isinstance(found, Profile) else Profile()

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """The k first, under their ids in the data set.

        Raises:
            InputError: one has no id there.
        """
        found = self._find(query, k)
        key = self.id_key
        if key is None:
            return list(found)
        for candidate in found:
            if candidate.metadata.get(key) is None:
                have = ", ".join(sorted(candidate.metadata)) or "none"
                raise InputError(f"a document has no metadata {key!r}; its keys: {have}")
        return [replace(c, id=str(c.metadata[key])) for c in found]


def as_first_stage(
    system: Any,
    *,
    data: Dataset | None = None,
    id_key: str | None = None,
    kind: FirstStageKind = FirstStageKind.HYBRID,
    fusion: Fusion | None = None,
) -> FirstStage:
    """Whatever the user has, as a first stage.

    Args:
        system: a first stage, a `MemoryIndex`, a `Run`, a retriever, vector store or index of
            LangChain or LlamaIndex, or a function of query and k that returns candidates or
            passage ids.
        data: the data set; needed for runs and for functions that return ids.
        id_key: the metadata key with the passage's id; None: the document's or node's own.
        kind: for a `MemoryIndex`: `hybrid`, `dense` or `bm25`.
        fusion: for a `MemoryIndex`.

    Raises:
        InputError: none of these, or a run without `data`.
        MissingExtraError: a vector store, and langchain-rankgate is not installed.
    """
    if isinstance(system, MemoryIndex):
        return IndexStage(index=system, kind=FirstStageKind(kind), fusion=fusion)
    if isinstance(system, Run):
        if data is None:
            raise InputError("a run has no texts: give the data set too, as data=")
        return RunStage(system, data)
    if isinstance(system, CollectionStage):
        return system
    corpus = None if data is None else data.corpus
    if callable(getattr(system, "candidates_for", None)):
        if isinstance(system, FirstStage):
            return system
        raise InputError(
            f"{type(system).__name__} has candidates_for, but not candidates(query, k)"
        )
    if callable(getattr(system, "candidates", None)):
        known = getattr(system, "profile", None)
        return CallableStage(system.candidates, corpus=corpus, profile=known)
    if (
        callable(getattr(system, "invoke", None))
        or callable(getattr(system, "as_retriever", None))
        or (comes_from(system, "llama_index") and hasattr(system, "retrieve"))
    ):
        return RetrieverStage(system, id_key=id_key)
    if callable(system):
        return CallableStage(system, corpus=corpus)
    raise InputError(f"a system under test {SYSTEMS}; got {type(system).__name__}")


def _resolved(rows: Any, corpus: Mapping[str, str] | None) -> list[Candidate]:
    """Candidates as they are, ids with the corpus's text."""
    if isinstance(rows, str | bytes) or not isinstance(rows, Sequence):
        raise InputError(f"expected a list of candidates or passage ids, got {type(rows).__name__}")
    found = []
    for rank, row in enumerate(rows, start=1):
        if isinstance(row, Candidate):
            found.append(row)
        elif not isinstance(row, str):
            raise InputError(
                f"result {rank} must be a rankgate.Candidate or a passage id, got "
                f"{type(row).__name__}"
            )
        elif corpus is None:
            raise InputError(f"result {rank} is an id: give the data set, so that it has a text")
        elif row not in corpus:
            raise InputError(f"result {rank}: passage {row!r} is not in the corpus")
        else:
            found.append(Candidate(id=row, text=corpus[row], rank=rank))
    return found


def _invoked(system: Any, query: str, k: int) -> list[Candidate]:
    """LangChain documents by their shape alone, so that LangChain need not be installed."""
    documents = list(system.invoke(query))[:k]
    return [
        Candidate(
            id=f"document-{rank}" if document.id is None else str(document.id),
            text=document.page_content,
            rank=rank,
            metadata=dict(document.metadata),
        )
        for rank, document in enumerate(documents, start=1)
    ]
