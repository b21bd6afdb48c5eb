"""Fused: several retrievers asked side by side, their lists merged by reciprocal ranks."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_rankgate.documents import candidates_from_documents, check_documents
from langchain_rankgate.finders import FoundDocuments, RetrieverFinder, refuse_unknown
from rankgate.adapters.found import Found
from rankgate.errors import InputError
from rankgate.retrieve import RetrieverFusion, list_depth, separate_failures

__all__ = ["FusedFinder", "SameBy"]

SameBy = Literal["id", "content"]


class FusedFinder:
    """Several retrievers. A passage that two of them find is one candidate.

    Lists carry ranks but no scores, so the fused list is an order. A retriever that raises is
    left out, and the result says so; when all of them raise, the first error is raised. One that
    takes k is asked for `rankgate.retrieve.list_depth` of it where the caller names k.

    Args:
        retrievers: a list, or a mapping from names to retrievers.
        weights: one each, >= 0, as a list or by name; None: all 1. One of weight 0 is not asked.
        rrf_k: smoothing of the reciprocal ranks.
        same_by: `id`: documents of one id are one passage, and one without an id is the one
            with its text. `content`: documents of one text are one passage.
        id_key: metadata key to read ids from instead of `Document.id`.

    Raises:
        InputError: no retriever, or weights that do not fit.
    """

    def __init__(
        self,
        retrievers: Sequence[RetrieverLike] | Mapping[str, RetrieverLike],
        *,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        rrf_k: float = 60.0,
        same_by: SameBy = "id",
        id_key: str | None = None,
    ) -> None:
        self.fusion: RetrieverFusion[RetrieverLike] = RetrieverFusion(
            retrievers, weights=weights, rrf_k=rrf_k
        )
        if same_by not in ("id", "content"):
            raise InputError(f"same_by must be 'id' or 'content', got {same_by!r}")
        self.members = {n: RetrieverFinder(r) for n, r in self.fusion.members.items()}
        self.same_by = same_by
        self.id_key = id_key

    def find(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """At most k of the fused list; the retrievers run in threads, side by side."""
        shares = self._shares(kwargs)
        depth = list_depth(k)

        def one(name: str) -> list[Document] | BaseException:
            try:
                return self.members[name].rows(
                    query, depth, asked=asked, callbacks=callbacks, kwargs=shares[name]
                )
            except Exception as exc:  # one list less is better than no answer
                return exc

        first, *others = self.members
        if not others:
            return self._fused({first: one(first)}, k)
        with ContextThreadPoolExecutor(max_workers=len(others)) as executor:
            waiting = executor.map(one, others)  # begun at once
            return self._fused({first: one(first), **dict(zip(others, waiting, strict=True))}, k)

    async def afind(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> FoundDocuments:
        """`find` by the retrievers' own async methods."""
        shares = self._shares(kwargs)
        depth = list_depth(k)
        tasks = [
            member.arows(query, depth, asked=asked, callbacks=callbacks, kwargs=shares[name])
            for name, member in self.members.items()
        ]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return self._fused(dict(zip(self.members, results, strict=True)), k)

    def ls_params(self) -> dict[str, str]:
        """Those of the retrievers; the first one's where several have them."""
        found: dict[str, str] = {}
        for member in self.members.values():
            found = {**member.ls_params(), **found}
        return found

    def _shares(self, kwargs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Each retriever gets the arguments that it takes; one must take each."""
        takes = {name: member.takes() for name, member in self.members.items()}
        if all(names is not None for names in takes.values()):
            known = sorted({n for names in takes.values() if names is not None for n in names})
            refuse_unknown(kwargs, known, "RankGateRetriever.from_retrievers")
        return {
            name: {n: v for n, v in kwargs.items() if names is None or n in names}
            for name, names in takes.items()
        }

    def _fused(
        self, results: Mapping[str, list[Document] | BaseException], k: int
    ) -> FoundDocuments:
        lists, failures = separate_failures(results)
        for documents in lists.values():
            check_documents(documents)
        keyed = self._keys(lists)
        merged = self.fusion.merge(keyed, k, failures=failures)
        first: dict[Hashable, Document] = {}
        for name, documents in lists.items():
            for key, document in zip(keyed[name], documents, strict=True):
                first.setdefault(key, document)
        documents = [first[key] for key in merged.ids]
        return Found(
            candidates=candidates_from_documents(documents, fused=merged.scores),
            items=documents,
            extras=merged.extras,
            notes=merged.notes,
        )

    def _keys(self, lists: Mapping[str, Sequence[Document]]) -> dict[str, list[Hashable]]:
        """What makes each document the same as another."""
        by_text: dict[str, Hashable] = {}
        for documents in lists.values():
            for document in documents:
                identifier = self._id(document)
                if identifier is not None:
                    by_text.setdefault(document.page_content, identifier)

        def key(document: Document) -> Hashable:
            identifier = self._id(document)
            if identifier is not None:
                return identifier
            text = document.page_content
            return by_text.get(text, ("text", text))

        return {name: [key(d) for d in documents] for name, documents in lists.items()}

    def _id(self, document: Document) -> Hashable | None:
        if self.same_by == "content":
            return None
        found = document.id if self.id_key is None else document.metadata.get(self.id_key)
        return None if found is None else ("id", str(found))
