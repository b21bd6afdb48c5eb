"""One question with and without reranking, for evaluators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from rag_app.comparison import compare
from rag_app.result import AnswerResult
from rag_app.server.access import Evaluator, Principal
from rag_app.server.errors import ApiError
from rag_app.server.shapes import answer_shape, passage_shape
from rag_app.server.state import Server, ServerState
from rag_app.server.text import Text
from rankgate import Floor
from rankgate.errors import PolicyError

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["compare"])

Probability = Annotated[float, Field(ge=0, le=1)]


class CompareRequest(BaseModel):
    """What to compare; what is left out is as the policy has it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"question": "How is a gate fitted?", "k": 20}]},
    )

    question: Annotated[Text, Field(min_length=1, max_length=4000)]
    collection: Text | None = None
    k: Annotated[int, Field(ge=1, le=200)] | None = None
    top_n: Annotated[int, Field(ge=1, le=50)] | None = None
    refuse_below: Probability | None = None
    drop_below: Probability | None = None


@router.post("/compare")
async def comparison(
    body: CompareRequest, request: Request, server: Server, principal: Evaluator
) -> dict[str, Any]:
    """Both lists on the same candidates, the gate's decision, both answers, both times."""
    return await server.slots.run(lambda _: _compare(body, server, principal), request)


def _compare(body: CompareRequest, server: ServerState, principal: Principal) -> dict[str, Any]:
    pipeline = server.pipeline(body.collection, principal)
    floor = None
    if body.refuse_below is not None or body.drop_below is not None:
        floor = Floor(refuse_below=body.refuse_below, drop_below=body.drop_below)
    try:
        found = compare(pipeline, body.question, k=body.k, top_n=body.top_n, floor=floor)
    except PolicyError as exc:
        if floor is None:
            raise
        raise ApiError(400, "invalid_request", str(exc), param="floor") from exc
    server.verify(pipeline, [c.id for c in found.candidates])

    def arm(result: AnswerResult) -> dict[str, Any]:
        outcome = result.trace.outcome
        return {
            **answer_shape(result, principal),
            "passages": [passage_shape(p, principal) for p in outcome.passages],
            "timings_ms": {k: round(v, 3) for k, v in result.trace.timings_ms.items()},
        }

    return {
        "question": found.question,
        "collection": pipeline.settings.collection,
        "k": found.k,
        "top_n": found.policy.trace.outcome.top_n,
        "floor": {
            "refuse_below": found.floor.refuse_below,
            "drop_below": found.floor.drop_below,
        },
        "gate": found.policy.trace.to_dict()["gate"],
        "retrieve_ms": round(found.retrieve_ms, 3),
        "without": arm(found.without),
        "with": arm(found.with_reranking),
        "policy": arm(found.policy),
    }
