"""Events: what LlamaIndex's two event systems are told of a reranking, and of its outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.base import BaseEvent  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.events.retrieval import (
    RetrievalEndEvent,
    RetrievalStartEvent,
)
from llama_index.core.schema import NodeWithScore, QueryBundle

from rankgate import FirstStageKind, Outcome, Reranker

__all__ = ["End", "RankGateOutcomeEvent", "announced", "retrievals", "top_n_of"]

_dispatcher = get_dispatcher(__name__)

Results = list[list[NodeWithScore]]
End = Callable[[Sequence[Outcome], Results], Results]


class RankGateOutcomeEvent(BaseEvent):
    """What happened to one query; says why a refused one has no nodes.

    Attributes:
        query: the user's words; None where events carry no content.
        status: reranked, skipped, degraded or refused.
        path: which stage ordered the nodes, also when the query was refused.
        reason: a short code; docs/gate.md lists them.
        detail: the reason in a sentence; None where events carry no content.
        first_stage: which first-stage scores there were.
        kept: number of nodes returned.
        dropped: number of candidates not returned.
        best_probability: the highest `relevance_score` of all candidates, if there is any.
        scorer: the scorer that gave the scores, or would have.
        total_ms: time from the request to its outcome.
    """

    query: str | None
    status: str
    path: str
    reason: str
    detail: str | None
    first_stage: str
    kept: int
    dropped: int
    best_probability: float | None
    scorer: str
    policy: str
    total_ms: float

    @classmethod
    def class_name(cls) -> str:
        """Name under which LlamaIndex serialises it."""
        return "RankGateOutcomeEvent"

    @classmethod
    def of(cls, outcome: Outcome, *, content: bool) -> RankGateOutcomeEvent:
        """The event for an outcome, with or without the query's words."""
        return cls(
            query=outcome.query if content else None,
            status=outcome.status.value,
            path=outcome.path.value,
            reason=outcome.reason,
            detail=outcome.detail if content else None,
            first_stage=outcome.first_stage.value,
            kept=len(outcome.kept),
            dropped=len(outcome.dropped),
            best_probability=outcome.best_probability,
            scorer=outcome.scorer.id,
            policy=outcome.policy,
            total_ms=outcome.timings_ms.get("total", 0.0),
        )


def top_n_of(reranker: Reranker, kind: FirstStageKind | None) -> int:
    """The policy's number of nodes; the largest where the candidates decide the section."""
    policy = reranker.policy
    if kind is not None:
        return policy.section(kind).top_n
    return max((section.top_n for section in policy.sections.values()), default=0)


@contextmanager
def announced(
    manager: CallbackManager,
    *,
    queries: Sequence[QueryBundle],
    nodes: Sequence[list[NodeWithScore]],
    top_n: int,
    model: str,
    content: bool,
) -> Iterator[End]:
    """Tells of the start of a reranking, and of the outcomes that the yielded function is given.

    The dispatcher gets a pair of events for each query, and a `RankGateOutcomeEvent`; the older
    callback manager one pair for the whole batch.

    Args:
        queries: one, or those of a batch.
        nodes: the candidates of each.
        content: False keeps queries, nodes and their text out of every event.
    """
    for query, found in zip(queries, nodes, strict=True):
        _dispatcher.event(
            ReRankStartEvent(
                query=query if content else None,
                nodes=found if content else [],
                top_n=top_n,
                model_name=model,
            )
        )
    payload: dict[str, Any] = {EventPayload.MODEL_NAME: model, EventPayload.TOP_K: top_n}
    if content:
        payload[EventPayload.NODES] = [node for found in nodes for node in found]
        payload[EventPayload.QUERY_STR] = "\n".join(query.query_str for query in queries)
    with manager.event(CBEventType.RERANKING, payload=payload) as event:

        def end(outcomes: Sequence[Outcome], results: Results) -> Results:
            shown = [node for result in results for node in result] if content else []
            event.on_end(payload={EventPayload.NODES: shown})
            for outcome, result in zip(outcomes, results, strict=True):
                _dispatcher.event(RankGateOutcomeEvent.of(outcome, content=content))
                _dispatcher.event(ReRankEndEvent(nodes=result if content else []))
            return results

        yield end


@contextmanager
def retrievals(
    manager: CallbackManager, queries: Sequence[QueryBundle]
) -> Iterator[Callable[[Results], Results]]:
    """The events of a batch, as `BaseRetriever.retrieve` sends them for one query.

    The dispatcher gets a pair for each query, the older callback manager one for the batch.
    """
    for query in queries:
        _dispatcher.event(RetrievalStartEvent(str_or_query_bundle=query))
    words = "\n".join(query.query_str for query in queries)
    with (
        manager.as_trace("query"),
        manager.event(CBEventType.RETRIEVE, payload={EventPayload.QUERY_STR: words}) as event,
    ):

        def end(results: Results) -> Results:
            nodes = [node for result in results for node in result]
            event.on_end(payload={EventPayload.NODES: nodes})
            for query, result in zip(queries, results, strict=True):
                _dispatcher.event(RetrievalEndEvent(str_or_query_bundle=query, nodes=result))
            return results

        yield end
