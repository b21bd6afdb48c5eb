"""One question with and without reranking, for evaluators."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from rag_app.ask.result import AnswerResult
from rag_app.quality.comparison import compare
from rag_app.quality.scorer_choices import scorer_choices
from rag_app.server.access import Evaluator
from rag_app.server.errors import invalid
from rag_app.server.keys import Principal
from rag_app.server.shapes import Body, Text, answer_shape, passage_shape
from rag_app.server.state import Server, ServerState
from rankgate import Floor
from rankgate.errors import PolicyError
from rankgate.scorers import ScoreContext

router = APIRouter(prefix="/v1", tags=["compare"])

Probability = Annotated[float, Field(ge=0, le=1)]


class CompareRequest(Body):
    """What to compare; what is left out is as the policy has it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "How is a gate fitted?", "k": 20}]}
    )

    question: Annotated[Text, Field(min_length=1, max_length=4000)]
    collection: Text | None = None
    k: Annotated[int, Field(ge=1, le=200)] | None = None
    top_n: Annotated[int, Field(ge=1, le=50)] | None = None
    refuse_below: Probability | None = None
    drop_below: Probability | None = None
    scorer: Annotated[Text, Field(min_length=1, max_length=300)] | None = Field(
        None, description="id of one that GET /v1/compare/scorers lists; none: the server's own"
    )


@router.get("/compare/scorers")
async def scorers(
    server: Server, principal: Evaluator, collection: str | None = None
) -> dict[str, Any]:
    """Who can score a collection's passages; the server's own is first and `configured`."""
    pipeline = await asyncio.to_thread(server.pipeline, collection, principal)
    found = [
        {"id": c.id, "scale": c.scorer.info.scale, "configured": c.configured}
        for c in scorer_choices(pipeline)
    ]
    return {"scorers": found}


@router.post("/compare")
async def comparison(
    body: CompareRequest, request: Request, server: Server, principal: Evaluator
) -> dict[str, Any]:
    """Both lists on the same candidates, the gate's decision, both answers, both times."""
    return await server.workers.run(
        lambda limits: _compare(body, server, principal, limits), request
    )


def _compare(
    body: CompareRequest, server: ServerState, principal: Principal, limits: ScoreContext
) -> dict[str, Any]:
    pipeline = server.pipeline(body.collection, principal)
    floor = None
    if body.refuse_below is not None or body.drop_below is not None:
        floor = Floor(refuse_below=body.refuse_below, drop_below=body.drop_below)
    try:
        found = compare(
            pipeline,
            body.question,
            k=body.k,
            top_n=body.top_n,
            floor=floor,
            scorer=body.scorer,
            limits=limits,
        )
    except PolicyError as exc:
        if floor is None:
            raise
        raise invalid("floor", str(exc)) from exc
    server.verify(pipeline, [c.id for c in found.candidates])

    def arm(result: AnswerResult, thresholds: Floor) -> dict[str, Any]:
        outcome = result.outcome
        return {
            **answer_shape(result, principal),
            "floor": _thresholds(thresholds),
            "passages": [passage_shape(p, principal) for p in outcome.passages],
            "timings_ms": {k: round(v, 3) for k, v in result.timings_ms.items()},
        }

    outcome = found.with_reranking.outcome
    return {
        "question": found.searched.question,
        "collection": pipeline.settings.collection,
        "k": found.k,
        "top_n": found.policy.outcome.top_n,
        "scorer": {
            "id": found.choice.id,
            "scale": outcome.scorer.scale,
            "configured": found.choice.configured,
            "fitted": not found.misfit,
            "raw_order": found.raw_order,
            "note": found.note or None,
        },
        # Of the way without reranking; where no policy fits the scorer, the other way has none.
        "floor": _thresholds(found.floor_without),
        "gate": found.policy.trace()["gate"],
        "retrieve_ms": round(found.retrieve_ms, 3),
        "without": arm(found.without, found.floor_without),
        "with": arm(found.with_reranking, found.floor_with),
        "policy": arm(found.policy, found.floor_with),
    }


def _thresholds(floor: Floor) -> dict[str, float | None]:
    return {"refuse_below": floor.refuse_below, "drop_below": floor.drop_below}
