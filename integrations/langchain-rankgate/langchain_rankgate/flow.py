"""Flow: from queries to outcomes, one by one or many at once, under one call's settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_rankgate.call import Call
from langchain_rankgate.sources import Found, Source
from rankgate import Outcome, Request, Reranker
from rankgate.adapters.options import candidates_wanted
from rankgate.errors import InputError

__all__ = ["Flow", "arerank_each", "rerank_each"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A first stage and a reranker, with the settings of one call.

    Attributes:
        source: the first stage.
        reranker: what follows it.
        call: the settings.
    """

    source: Source
    reranker: Reranker
    call: Call

    def find(self, query: str, callbacks: Callbacks) -> Found:
        """What the first stage finds.

        Raises:
            InputError: the query is no string, or the first stage does not know an argument.
        """
        call = self._checked(query)
        return self.source.find(
            query,
            candidates_wanted(self.reranker, call.k),
            asked=call.k is not None,
            callbacks=callbacks,
            kwargs=call.rest,
        )

    async def afind(self, query: str, callbacks: Callbacks) -> Found:
        """`find` without blocking the event loop."""
        call = self._checked(query)
        return await self.source.afind(
            query,
            candidates_wanted(self.reranker, call.k),
            asked=call.k is not None,
            callbacks=callbacks,
            kwargs=call.rest,
        )

    def _checked(self, query: Any) -> Call:
        """The call, if there is something to ask; a first stage's own error would say less."""
        if not isinstance(query, str):
            raise InputError(f"query must be a string, got {type(query).__name__}")
        return self.call

    def rerank(self, query: str, found: Found) -> Outcome:
        """The outcome, with the first stage's notes before its own."""
        outcome = self.reranker.rerank_many([self.call.request(query, found.candidates)])[0]
        return _noted(outcome, found)

    async def arerank(self, query: str, found: Found) -> Outcome:
        """`rerank` without blocking the event loop."""
        requests = [self.call.request(query, found.candidates)]
        return _noted((await self.reranker.arerank_many(requests))[0], found)

    def find_each(
        self, queries: Sequence[str], callbacks: Sequence[Callbacks], at_once: int | None
    ) -> list[Found | Exception]:
        """`find` for each, in threads; an error stands in its query's place."""

        def one(query: str, child: Callbacks) -> Found | Exception:
            try:
                return self.find(query, child)
            except Exception as exc:
                return exc

        if len(queries) == 1:
            return [one(queries[0], callbacks[0])]
        with ContextThreadPoolExecutor(max_workers=at_once) as executor:
            return list(executor.map(one, queries, callbacks))

    async def afind_each(
        self, queries: Sequence[str], callbacks: Sequence[Callbacks], at_once: int | None
    ) -> list[Found | Exception]:
        """`find_each` on the event loop."""
        limit = asyncio.Semaphore(len(queries) if at_once is None else at_once)

        async def one(query: str, child: Callbacks) -> Found | Exception:
            async with limit:
                try:
                    return await self.afind(query, child)
                except Exception as exc:
                    return exc

        return list(await asyncio.gather(*map(one, queries, callbacks)))

    def rerank_found(
        self, queries: Sequence[str], found: Sequence[Found | Exception], *, isolate: bool
    ) -> list[tuple[Found, Outcome] | Exception]:
        """The outcomes of what was found, from one call to the scorer; errors pass through."""
        good = [(q, f) for q, f in zip(queries, found, strict=True) if isinstance(f, Found)]
        requests = [self.call.request(q, f.candidates) for q, f in good]
        return _merged(found, rerank_each(self.reranker, requests, isolate=isolate))

    async def arerank_found(
        self, queries: Sequence[str], found: Sequence[Found | Exception], *, isolate: bool
    ) -> list[tuple[Found, Outcome] | Exception]:
        """`rerank_found` without blocking the event loop."""
        good = [(q, f) for q, f in zip(queries, found, strict=True) if isinstance(f, Found)]
        requests = [self.call.request(q, f.candidates) for q, f in good]
        return _merged(found, await arerank_each(self.reranker, requests, isolate=isolate))


def rerank_each(
    reranker: Reranker, requests: Sequence[Request], *, isolate: bool
) -> list[Outcome | Exception]:
    """Outcomes from one call to the scorer.

    Args:
        reranker: the engine.
        requests: one a query.
        isolate: where a request cannot be used, run each alone, so that the error stands in
            its place only; False: raise.
    """
    try:
        return list(reranker.rerank_many(requests))
    except Exception as exc:
        if not isolate:
            raise
        if len(requests) == 1:
            return [exc]
    return [rerank_each(reranker, [request], isolate=True)[0] for request in requests]


async def arerank_each(
    reranker: Reranker, requests: Sequence[Request], *, isolate: bool
) -> list[Outcome | Exception]:
    """`rerank_each` without blocking the event loop."""
    try:
        return list(await reranker.arerank_many(requests))
    except Exception as exc:
        if not isolate:
            raise
        if len(requests) == 1:
            return [exc]
    return [(await arerank_each(reranker, [request], isolate=True))[0] for request in requests]


def _merged(
    found: Sequence[Found | Exception], outcomes: Sequence[Outcome | Exception]
) -> list[tuple[Found, Outcome] | Exception]:
    rest = iter(outcomes)
    result: list[tuple[Found, Outcome] | Exception] = []
    for item in found:
        if isinstance(item, Exception):
            result.append(item)
            continue
        outcome = next(rest)
        if isinstance(outcome, Exception):
            result.append(outcome)
        else:
            result.append((item, _noted(outcome, item)))
    return result


def _noted(outcome: Outcome, found: Found) -> Outcome:
    return replace(outcome, notes=(*found.notes, *outcome.notes)) if found.notes else outcome
