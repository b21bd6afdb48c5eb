"""Fused: several retrievers asked side by side, their lists merged by reciprocal ranks."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_rankgate.documents import candidates_from_documents, check_documents
from langchain_rankgate.sources import Found, RetrieverSource, refuse_unknown
from rankgate.errors import InputError
from rankgate.firststage import reciprocal_rank_fusion

__all__ = ["FusedSource", "SameBy"]

logger = logging.getLogger("rankgate")

SameBy = Literal["id", "content"]


class FusedSource:
    """Several retrievers. A passage that two of them find is one candidate.

    Lists carry ranks but no scores, so the fused list is an order. A retriever that raises is
    left out, and the result says so; when all of them raise, the first error is raised.

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
        named = dict(retrievers) if isinstance(retrievers, Mapping) else _named(retrievers)
        factors = _factors(named, weights)
        if not rrf_k > 0 or not math.isfinite(rrf_k):
            raise InputError(f"rrf_k must be a number above 0, got {rrf_k!r}")
        if same_by not in ("id", "content"):
            raise InputError(f"same_by must be 'id' or 'content', got {same_by!r}")
        self.members = {n: RetrieverSource(r) for n, r in named.items() if factors[n] > 0}
        self.weights = {n: factors[n] for n in self.members}
        self.rrf_k = rrf_k
        self.same_by = same_by
        self.id_key = id_key

    def find(
        self, query: str, k: int, *, asked: bool, callbacks: Callbacks, kwargs: Mapping[str, Any]
    ) -> Found:
        """At most k of the fused list; the retrievers run in threads, side by side."""
        shares = self._shares(kwargs)

        def one(name: str) -> list[Document] | BaseException:
            try:
                return self.members[name].rows(
                    query, k, asked=asked, callbacks=callbacks, kwargs=shares[name]
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
    ) -> Found:
        """`find` by the retrievers' own async methods."""
        shares = self._shares(kwargs)
        tasks = [
            member.arows(query, k, asked=asked, callbacks=callbacks, kwargs=shares[name])
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

    def _fused(self, results: Mapping[str, list[Document] | BaseException], k: int) -> Found:
        lists, failed = _sorted_out(results)
        keyed = self._keys(lists)
        found_by: dict[Hashable, dict[str, int]] = {}
        first: dict[Hashable, Document] = {}
        for name, documents in lists.items():
            for rank, (key, document) in enumerate(
                zip(keyed[name], documents, strict=True), start=1
            ):
                found_by.setdefault(key, {}).setdefault(name, rank)
                first.setdefault(key, document)
        fused = reciprocal_rank_fusion(
            list(keyed.values()), k=self.rrf_k, weights=[self.weights[name] for name in keyed]
        )[:k]
        documents = [first[key] for key, _ in fused]
        failures = {name: f"{type(exc).__name__}: {exc}" for name, exc in failed.items()}
        more = {"rankgate_failed_retrievers": failures} if failures else {}
        return Found(
            candidates=candidates_from_documents(documents, fused=[score for _, score in fused]),
            documents=documents,
            extras=[{"rankgate_found_by": found_by[key], **more} for key, _ in fused],
            notes=tuple(f"retriever_failed: {name}: {why}" for name, why in failures.items()),
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


def _named(retrievers: Sequence[RetrieverLike]) -> dict[str, RetrieverLike]:
    """By class, counted where a class comes twice."""
    named: dict[str, RetrieverLike] = {}
    for retriever in retrievers:
        base = name = type(retriever).__name__
        number = 1
        while name in named:
            number += 1
            name = f"{base}-{number}"
        named[name] = retriever
    return named


def _factors(
    named: Mapping[str, RetrieverLike], weights: Sequence[float] | Mapping[str, float] | None
) -> dict[str, float]:
    if not named:
        raise InputError("from_retrievers needs at least one retriever, got none")
    if weights is None:
        return dict.fromkeys(named, 1.0)
    if isinstance(weights, Mapping):
        if set(weights) != set(named):
            raise InputError(
                f"weights must name the retrievers {sorted(named)}, got {sorted(weights)}"
            )
        factors = {name: weights[name] for name in named}
    else:
        if len(weights) != len(named):
            raise InputError(f"{len(named)} retrievers, but {len(weights)} weights")
        factors = dict(zip(named, weights, strict=True))
    for name, weight in factors.items():
        if not weight >= 0 or not math.isfinite(weight):
            raise InputError(f"the weight of {name!r} must be a number >= 0, got {weight!r}")
    if not any(factors.values()):
        raise InputError("one of the weights must be above 0")
    return factors


def _sorted_out(
    results: Mapping[str, list[Document] | BaseException],
) -> tuple[dict[str, list[Document]], dict[str, Exception]]:
    """The lists, and the errors of those that gave none; raises where nothing is left."""
    lists: dict[str, list[Document]] = {}
    failed: dict[str, Exception] = {}
    for name, result in results.items():
        if isinstance(result, list):
            check_documents(result)
            lists[name] = result
        elif isinstance(result, Exception) and not isinstance(result, InputError):
            failed[name] = result
        else:  # the caller's mistake, or a cancellation: not this retriever's failure
            raise result
    if not lists:
        error = next(iter(failed.values()))
        error.add_note(f"all retrievers failed: {', '.join(failed)}")
        raise error
    for name, error in failed.items():
        logger.warning("retriever %s failed: %s: %s", name, type(error).__name__, error)
    return lists, failed
