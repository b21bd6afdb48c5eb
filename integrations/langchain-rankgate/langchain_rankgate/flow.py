"""Flow: from queries to outcomes, one by one or many at once, under one call's settings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_rankgate.finders import Finder, FoundDocuments
from langchain_rankgate.settings import session_of
from rankgate import Outcome, Request, Reranker
from rankgate.adapters.arguments import CallSettings, candidates_wanted
from rankgate.adapters.late import LateReranker
from rankgate.plan import as_query

__all__ = ["Flow", "arerank_each", "rerank_each"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A first stage and a reranker, with the settings of one call.

    Attributes:
        finder: the first stage.
        engine: what follows it, loaded.
        settings: of the call.
        rest: arguments that are the first stage's business.
    """

    finder: Finder
    engine: LateReranker
    settings: CallSettings
    rest: Mapping[str, Any]

    def find(self, query: str, callbacks: Callbacks) -> FoundDocuments:
        """What the first stage finds.

        Raises:
            InputError: nothing is asked, or the first stage does not know an argument.
        """
        return self._of_call(self.finder.find(query, **self._asked(query, callbacks)), callbacks)

    async def afind(self, query: str, callbacks: Callbacks) -> FoundDocuments:
        """`find` without blocking the event loop."""
        found = await self.finder.afind(query, **self._asked(query, callbacks))
        return self._of_call(found, callbacks)

    def _asked(self, query: Any, callbacks: Callbacks) -> dict[str, Any]:
        """The first stage's arguments, if there is something to ask; its own error says less."""
        as_query(query)
        k = self.settings.k
        return {
            "k": candidates_wanted(self.engine.get(), k),
            "asked": k is not None,
            "callbacks": callbacks,
            "kwargs": self.rest,
        }

    def rerank(self, query: str, found: FoundDocuments) -> Outcome:
        """The outcome, of which nobody was told yet."""
        requests = [self.settings.request(query, found.candidates)]
        return self.engine.get().rerank_many(requests)[0]

    async def arerank(self, query: str, found: FoundDocuments) -> Outcome:
        """`rerank` without blocking the event loop."""
        requests = [self.settings.request(query, found.candidates)]
        return (await self.engine.get().arerank_many(requests))[0]

    def _of_call(self, found: FoundDocuments, callbacks: Callbacks) -> FoundDocuments:
        depth = found.depth if self.settings.k is None else self.settings.k
        return replace(found, depth=depth, session=session_of(getattr(callbacks, "metadata", None)))

    def find_each(
        self, queries: Sequence[str], callbacks: Sequence[Callbacks], at_once: int | None
    ) -> list[FoundDocuments | Exception]:
        """`find` for each, in threads; an error stands in its query's place."""

        def one(query: str, child: Callbacks) -> FoundDocuments | Exception:
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
    ) -> list[FoundDocuments | Exception]:
        """`find_each` on the event loop."""
        limit = asyncio.Semaphore(len(queries) if at_once is None else at_once)

        async def one(query: str, child: Callbacks) -> FoundDocuments | Exception:
            async with limit:
                try:
                    return await self.afind(query, child)
                except Exception as exc:
                    return exc

        return list(await asyncio.gather(*map(one, queries, callbacks)))

    def rerank_found(
        self, queries: Sequence[str], found: Sequence[FoundDocuments | Exception], *, isolate: bool
    ) -> list[tuple[FoundDocuments, Outcome] | Exception]:
        """The outcomes of what was found, from one call to the scorer; errors pass through."""
        requests = self._requests(queries, found)
        return self._merged(found, rerank_each(self.engine.get(), requests, isolate=isolate))

    async def arerank_found(
        self, queries: Sequence[str], found: Sequence[FoundDocuments | Exception], *, isolate: bool
    ) -> list[tuple[FoundDocuments, Outcome] | Exception]:
        """`rerank_found` without blocking the event loop."""
        requests = self._requests(queries, found)
        outcomes = await arerank_each(self.engine.get(), requests, isolate=isolate)
        return self._merged(found, outcomes)

    def _requests(
        self, queries: Sequence[str], found: Sequence[FoundDocuments | Exception]
    ) -> list[Request]:
        return [
            self.settings.request(query, item.candidates)
            for query, item in zip(queries, found, strict=True)
            if not isinstance(item, Exception)
        ]

    def _merged(
        self, found: Sequence[FoundDocuments | Exception], outcomes: Sequence[Outcome | Exception]
    ) -> list[tuple[FoundDocuments, Outcome] | Exception]:
        rest = iter(outcomes)
        result: list[tuple[FoundDocuments, Outcome] | Exception] = []
        for item in found:
            if isinstance(item, Exception):
                result.append(item)
                continue
            outcome = next(rest)
            result.append(outcome if isinstance(outcome, Exception) else (item, outcome))
        return result


def rerank_each(
    reranker: Reranker, requests: Sequence[Request], *, isolate: bool
) -> list[Outcome | Exception]:
    """Outcomes from one call to the scorer.

    Args:
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
