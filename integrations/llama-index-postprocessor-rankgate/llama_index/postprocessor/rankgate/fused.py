"""Fused: several retrievers, their lists merged by reciprocal ranks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.postprocessor.rankgate.sources import Found, RetrieverSource
from rankgate import Candidate
from rankgate.retrieve import RetrieverFusion, list_depth, separate_failures

__all__ = ["FusedSource", "together"]

T = TypeVar("T")


class FusedSource:
    """Several retrievers. A node that two of them find, by its id, is one candidate.

    Their scores are of different kinds and none is known for every node, so the fused list is
    an order and the gate sees no margins. A retriever that raises is left out, and the result
    says so; when all of them raise, the first error is raised. For k nodes each is asked for
    `rankgate.retrieve.list_depth(k)`.

    Args:
        retrievers: a list, or a mapping from names to retrievers.
        weights: one each, >= 0, as a list or by name; None: all 1. One of weight 0 is not asked.
        rrf_k: smoothing of the reciprocal ranks.

    Raises:
        InputError: no retriever, or weights that do not fit.
    """

    def __init__(
        self,
        retrievers: Sequence[BaseRetriever] | Mapping[str, BaseRetriever],
        *,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        rrf_k: float = 60.0,
    ) -> None:
        self.fusion: RetrieverFusion[BaseRetriever] = RetrieverFusion(
            retrievers, weights=weights, rrf_k=rrf_k
        )
        self.members = {name: RetrieverSource(r) for name, r in self.fusion.members.items()}

    def find(self, query: QueryBundle, k: int, *, asked: bool) -> Found:
        """At most k of the fused list; the retrievers run one after the other."""
        results: dict[str, Found | BaseException] = {}
        for name, source in self.members.items():
            try:
                results[name] = source.find(query, list_depth(k), asked=asked)
            except Exception as exc:  # one list less is better than no answer
                results[name] = exc
        return self._fused(results, k)

    async def afind(self, query: QueryBundle, k: int, *, asked: bool) -> Found:
        """`find` by the retrievers' own async methods, side by side."""

        async def one(source: RetrieverSource) -> Found | BaseException:
            try:
                return await source.afind(query, list_depth(k), asked=asked)
            except Exception as exc:
                return exc

        tasks = [partial(one, source) for source in self.members.values()]
        results = await together(tasks, at_once=len(tasks))
        return self._fused(dict(zip(self.members, results, strict=True)), k)

    def _fused(self, results: Mapping[str, Found | BaseException], k: int) -> Found:
        lists, failures = separate_failures(results)
        keys = {name: [c.id for c in found.candidates] for name, found in lists.items()}
        merged = self.fusion.merge(keys, k, failures=failures)
        first: dict[Hashable, tuple[Candidate, NodeWithScore]] = {}
        for found in lists.values():
            for candidate, node in zip(found.candidates, found.nodes, strict=True):
                first.setdefault(candidate.id, (candidate, node))
        return Found(
            candidates=[
                replace(first[identifier][0], rank=rank, fused=score)
                for rank, (identifier, score) in enumerate(
                    zip(merged.ids, merged.scores, strict=True), start=1
                )
            ],
            nodes=[first[identifier][1] for identifier in merged.ids],
            extras=merged.extras,
            notes=merged.notes,
        )


async def together(tasks: Sequence[Callable[[], Awaitable[T]]], *, at_once: int) -> list[T]:
    """Run all, at most `at_once` at a time; the first error cancels the others."""
    limit = asyncio.Semaphore(at_once)

    async def one(task: Callable[[], Awaitable[T]]) -> T:
        async with limit:
            return await task()

    running = [asyncio.ensure_future(one(task)) for task in tasks]
    try:
        return await asyncio.gather(*running)
    except BaseException:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
