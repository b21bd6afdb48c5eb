"""Finders: where a retriever's candidates come from, with their scores where there are any."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from langchain_core.runnables import RunnableConfig

from langchain_rankgate.documents import candidates_from_documents
from rankgate.adapters.arguments import FirstStageLike
from rankgate.adapters.found import Found
from rankgate.errors import InputError
from rankgate.retrieve import CandidateSupplier

__all__ = [
    "CandidateFinder",
    "Finder",
    "FoundDocuments",
    "RetrieverFinder",
    "found_documents",
    "refuse_unknown",
]


FoundDocuments = Found[Document]
"""What a finder of this package gives."""


def found_documents(
    documents: Sequence[Document], *, wanted: int | None = None, dense_key: str | None = None
) -> FoundDocuments:
    """Documents that came from somewhere else, in the order in which they came.

    Args:
        wanted: how many there should be; None: as many as the policy reads.
        dense_key: metadata key that holds a cosine.

    Raises:
        InputError: not a `Document`, or no cosine under `dense_key`.
    """
    candidates = candidates_from_documents(documents, dense_key=dense_key)
    few = wanted is None or len(documents) < wanted
    depth = len(documents) if few and documents else None
    return Found(candidates=candidates, items=documents, depth=depth)


class Finder(Protocol):
    """A first stage, as the retriever sees it."""

    def find(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """At most k candidates; `asked` says whether the caller named k, or the policy did."""

    async def afind(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """`find` without blocking the event loop."""

    def ls_params(self) -> dict[str, str]:
        """What tracing may know: LangSmith's retriever parameters."""


def refuse_unknown(kwargs: Mapping[str, Any], allowed: Sequence[str], what: str) -> None:
    """Raise where `kwargs` has a name that `what` does not take.

    Raises:
        InputError: it has.
    """
    unknown = [name for name in kwargs if name not in allowed]
    if unknown:
        known = ", ".join(dict.fromkeys(("top_n", "k", "force", "deadline", *allowed)))
        raise InputError(f"{what} does not know the argument {unknown[0]!r}; known: {known}")


class RetrieverFinder:
    """Any retriever. It gives an order but no scores, so the gate has no margins to look at.

    The child's own number of results stands unless the caller names k; then k is handed on
    where the child's signature takes it, and the list is cut to k in any case.
    """

    def __init__(self, retriever: RetrieverLike) -> None:
        self.retriever = retriever

    def find(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """The child's documents, its run traced below ours."""
        return found_documents(
            self.rows(query, k, asked=asked, callbacks=callbacks, kwargs=kwargs), wanted=k
        )

    async def afind(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """`find` without blocking the event loop."""
        return found_documents(
            await self.arows(query, k, asked=asked, callbacks=callbacks, kwargs=kwargs), wanted=k
        )

    def rows(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> list[Document]:
        """The child's documents as they are, at most k where the caller named k."""
        config = RunnableConfig(callbacks=callbacks)
        rows = self.retriever.invoke(query, config, **self._handed_on(k, asked, kwargs))
        return list(rows)[:k] if asked else list(rows)

    async def arows(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> list[Document]:
        """`rows` without blocking the event loop."""
        config = RunnableConfig(callbacks=callbacks)
        rows = await self.retriever.ainvoke(query, config, **self._handed_on(k, asked, kwargs))
        return list(rows)[:k] if asked else list(rows)

    def takes(self) -> tuple[str, ...] | None:
        """Names of the arguments that the child takes; None: any, as far as can be seen."""
        child = self.retriever
        if not isinstance(child, BaseRetriever):
            return None
        seen = inspect.signature(child._get_relevant_documents).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in seen.values()):
            return None
        return tuple(name for name in seen if name not in ("query", "run_manager"))

    def _handed_on(self, k: int, asked: bool, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(self.retriever, BaseRetriever):
            return dict(kwargs)
        names = self.takes()
        if names is not None:
            # LangChain would drop them without a word.
            refuse_unknown(kwargs, names, type(self.retriever).__name__)
        return {**kwargs, "k": k} if asked and (names is None or "k" in names) else dict(kwargs)

    def ls_params(self) -> dict[str, str]:
        """Those of the child that say where documents come from."""
        child = self.retriever
        if not isinstance(child, BaseRetriever):
            return {}
        params = child._get_ls_params()
        return {k: str(v) for k, v in params.items() if k != "ls_retriever_name" and v is not None}


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

    def find(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """What `candidates` returns; further arguments are handed on where it takes them."""
        self._check(kwargs, awaited=False)
        return Found(candidates=self.supplier.candidates(query, k, **kwargs))

    async def afind(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """`acandidates` where there is one, otherwise `candidates` in a worker thread."""
        self._check(kwargs, awaited=True)
        return Found(candidates=await self.supplier.acandidates(query, k, **kwargs))

    def _check(self, kwargs: Mapping[str, Any], *, awaited: bool) -> None:
        names = self.supplier.takes(awaited=awaited)
        if names is not None:
            refuse_unknown(kwargs, names, "the first stage")

    def ls_params(self) -> dict[str, str]:
        """Nothing is known."""
        return {}
