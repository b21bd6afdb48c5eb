"""Fused: several retrievers, their lists merged by reciprocal ranks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.postprocessor.rankgate.sources import Found, RetrieverSource
from rankgate import Candidate
from rankgate.errors import InputError
from rankgate.firststage import reciprocal_rank_fusion

__all__ = ["FusedSource", "together"]

T = TypeVar("T")


class FusedSource:
    """Several retrievers. A node that two of them find, by its id, is one candidate.

    Their scores are of different kinds and none is known for every node, so the fused list is
    an order and the gate sees no margins. A retriever that raises is left out, and the result
    says so; when all of them raise, the first error is raised.

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
        named = dict(retrievers) if isinstance(retrievers, Mapping) else _named(retrievers)
        factors = _factors(named, weights)
        if not rrf_k > 0 or not math.isfinite(rrf_k):
            raise InputError(f"rrf_k must be a number above 0, got {rrf_k!r}")
        members = {name: RetrieverSource(retriever) for name, retriever in named.items()}
        self.members = {name: source for name, source in members.items() if factors[name] > 0}
        self.weights = {name: factors[name] for name in self.members}
        self.rrf_k = rrf_k

    def find(self, query: QueryBundle, k: int, *, asked: bool) -> Found:
        """At most k of the fused list; the retrievers run one after the other."""
        results: dict[str, Found | BaseException] = {}
        for name, source in self.members.items():
            try:
                results[name] = source.find(query, k, asked=asked)
            except Exception as exc:  # one list less is better than no answer
                results[name] = exc
        return self._fused(results, k)

    async def afind(self, query: QueryBundle, k: int, *, asked: bool) -> Found:
        """`find` by the retrievers' own async methods, side by side."""

        async def one(source: RetrieverSource) -> Found | BaseException:
            try:
                return await source.afind(query, k, asked=asked)
            except Exception as exc:
                return exc

        tasks = [partial(one, source) for source in self.members.values()]
        results = await together(tasks, at_once=len(tasks))
        return self._fused(dict(zip(self.members, results, strict=True)), k)

    def _fused(self, results: Mapping[str, Found | BaseException], k: int) -> Found:
        lists, failed = _sorted_out(results)
        first: dict[str, tuple[Candidate, NodeWithScore]] = {}
        ranks: dict[str, dict[str, int]] = {name: {} for name in lists}
        for name, found in lists.items():
            for candidate, node in zip(found.candidates, found.nodes, strict=True):
                first.setdefault(candidate.id, (candidate, node))
                ranks[name].setdefault(candidate.id, candidate.rank)
        fused = reciprocal_rank_fusion(
            [list(ranks[name]) for name in lists],
            k=self.rrf_k,
            weights=[self.weights[name] for name in lists],
        )[:k]
        reasons = {name: f"{type(exc).__name__}: {exc}" for name, exc in failed.items()}
        return Found(
            candidates=[
                replace(first[identifier][0], rank=rank, fused=score)
                for rank, (identifier, score) in enumerate(fused, start=1)
            ],
            nodes=[first[identifier][1] for identifier, _ in fused],
            extras=[
                {
                    "rankgate_found_by": {
                        n: r[identifier] for n, r in ranks.items() if identifier in r
                    },
                    **({"rankgate_failed_retrievers": dict(reasons)} if reasons else {}),
                }
                for identifier, _ in fused
            ],
            notes=tuple(f"retriever_failed: {name}: {why}" for name, why in reasons.items()),
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


def _named(retrievers: Sequence[BaseRetriever]) -> dict[str, BaseRetriever]:
    """By class, counted where a class comes twice."""
    named: dict[str, BaseRetriever] = {}
    for retriever in retrievers:
        base = name = type(retriever).__name__
        number = 1
        while name in named:
            number += 1
            name = f"{base}-{number}"
        named[name] = retriever
    return named


def _factors(
    named: Mapping[str, BaseRetriever], weights: Sequence[float] | Mapping[str, float] | None
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
    results: Mapping[str, Found | BaseException],
) -> tuple[dict[str, Found], dict[str, Exception]]:
    """The lists, and the errors of those that gave none; raises where nothing is left."""
    lists: dict[str, Found] = {}
    failed: dict[str, Exception] = {}
    for name, result in results.items():
        if isinstance(result, Found):
            lists[name] = result
        elif isinstance(result, Exception) and not isinstance(result, InputError):
            failed[name] = result
        else:  # the caller's mistake, or a cancellation: not this retriever's failure
            raise result
    if not lists:
        raise next(iter(failed.values()))
    return lists, failed
