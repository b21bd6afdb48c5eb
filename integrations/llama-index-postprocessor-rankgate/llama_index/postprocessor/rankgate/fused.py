"""Fused: several retrievers, their lists merged by reciprocal ranks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.postprocessor.rankgate.finders import RetrieverFinder
from llama_index.postprocessor.rankgate.nodes import FoundNodes
from rankgate import Candidate
from rankgate.adapters.found import Found
from rankgate.retrieve import RetrieverFusion, list_depth, separate_failures

__all__ = ["FusedFinder", "together"]

T = TypeVar("T")


class FusedFinder:
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
        self.members = {name: RetrieverFinder(r) for name, r in self.fusion.members.items()}

    def find(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """At most k of the fused list; the retrievers run one after the other."""
        results: dict[str, FoundNodes | BaseException] = {}
        for name, finder in self.members.items():
            try:
                results[name] = finder.find(query, list_depth(k), asked=asked)
            except Exception as exc:  # one list less is better than no answer
                results[name] = exc
        return self._fused(results, k)

    async def afind(self, query: QueryBundle, k: int, *, asked: bool) -> FoundNodes:
        """`find` by the retrievers' own async methods, side by side."""

        async def one(finder: RetrieverFinder) -> FoundNodes | BaseException:
            try:
                return await finder.afind(query, list_depth(k), asked=asked)
            except Exception as exc:
                return exc

        tasks = [partial(one, finder) for finder in self.members.values()]
        results = await together(tasks, at_once=len(tasks))
        return self._fused(dict(zip(self.members, results, strict=True)), k)

    def _fused(self, results: Mapping[str, FoundNodes | BaseException], k: int) -> FoundNodes:
        lists, failures = separate_failures(results)
        keys = {name: [c.id for c in found.candidates] for name, found in lists.items()}
        merged = self.fusion.merge(keys, k, failures=failures)
        first: dict[Hashable, tuple[Candidate, NodeWithScore]] = {}
        for found in lists.values():
            for candidate, node in zip(found.candidates, found.items or (), strict=True):
                first.setdefault(candidate.id, (candidate, node))
        return Found(
            candidates=[
                replace(first[identifier][0], rank=rank, fused=score)
                for rank, (identifier, score) in enumerate(
                    zip(merged.ids, merged.scores, strict=True), start=1
                )
            ],
            items=[first[identifier][1] for identifier in merged.ids],
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
