"""Flow: from queries to outcomes and nodes, under one call's settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index.postprocessor.rankgate.events import End, announced, top_n_of
from llama_index.postprocessor.rankgate.finders import Finder
from llama_index.postprocessor.rankgate.fused import together
from llama_index.postprocessor.rankgate.nodes import FoundNodes
from rankgate import FirstStageKind, Outcome, Request, Reranker
from rankgate.adapters.arguments import CallSettings, candidates_wanted
from rankgate.adapters.late import LateReranker

__all__ = ["Flow", "nodes_in"]

Results = tuple[list[Outcome], list[list[NodeWithScore]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A first stage and a reranker, with the settings of one call.

    Attributes:
        finder: the first stage.
        engine: what follows it.
        settings: of the call, the component's own where it is silent.
        answer: the outcome once log and caller were told of it, and its nodes.
        manager: LlamaIndex's older callbacks.
        content: whether events carry queries and nodes.
    """

    finder: Finder
    engine: LateReranker
    settings: CallSettings
    answer: Callable[[Outcome, FoundNodes], tuple[Outcome, list[NodeWithScore]]]
    manager: CallbackManager
    content: bool

    def find(self, query: QueryBundle) -> FoundNodes:
        """What the first stage finds."""
        size, asked = self._size(self.engine.get())
        return self._of_call(self.finder.find(query, size, asked=asked))

    async def afind(self, query: QueryBundle) -> FoundNodes:
        """`find` without blocking the event loop."""
        size, asked = self._size(await self.engine.aget())
        return self._of_call(await self.finder.afind(query, size, asked=asked))

    def run(self, queries: Sequence[QueryBundle]) -> Results:
        """Outcome and nodes of each query, from one call to the scorer."""
        found = [self.find(query) for query in queries]
        reranker = self.engine.get()
        with self._announced(queries, found, reranker) as end:
            return self._told(reranker.rerank_many(self._requests(queries, found)), found, end)

    async def arun(self, queries: Sequence[QueryBundle], *, workers: int = 1) -> Results:
        """`run` without blocking the event loop; `workers` first stages at a time."""
        tasks = [partial(self.afind, query) for query in queries]
        found = await together(tasks, at_once=workers)
        reranker = await self.engine.aget()
        with self._announced(queries, found, reranker) as end:
            outcomes = await reranker.arerank_many(self._requests(queries, found))
            return self._told(outcomes, found, end)

    def _announced(
        self, queries: Sequence[QueryBundle], found: Sequence[FoundNodes], reranker: Reranker
    ) -> AbstractContextManager[End]:
        wanted = self.settings.top_n
        return announced(
            self.manager,
            queries=queries,
            nodes=[nodes_in(f) for f in found],
            top_n=top_n_of(reranker, self._kind(reranker)) if wanted is None else wanted,
            model=reranker.scorer.info.id,
            content=self.content,
        )

    def _requests(
        self, queries: Sequence[QueryBundle], found: Sequence[FoundNodes]
    ) -> list[Request]:
        pairs = zip(queries, found, strict=True)
        return [self.settings.request(q.query_str, f.candidates) for q, f in pairs]

    def _told(self, outcomes: Sequence[Outcome], found: Sequence[FoundNodes], end: End) -> Results:
        answers = [self.answer(o, f) for o, f in zip(outcomes, found, strict=True)]
        told = [outcome for outcome, _ in answers]
        return told, end(told, [nodes for _, nodes in answers])

    def _of_call(self, found: FoundNodes) -> FoundNodes:
        return found if self.settings.k is None else replace(found, depth=self.settings.k)

    def _size(self, reranker: Reranker) -> tuple[int, bool]:
        """How many candidates to ask for, and whether the caller named the number."""
        k = self.settings.k
        return candidates_wanted(reranker, k, kind=self._kind(reranker)), k is not None

    def _kind(self, reranker: Reranker) -> FirstStageKind | None:
        own = self.engine.parts.kind
        return reranker.first_stage if own is None else own


def nodes_in(found: FoundNodes) -> list[NodeWithScore]:
    """The nodes that it found, none where it found none."""
    return [] if found.items is None else list(found.items)
