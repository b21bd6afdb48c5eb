"""Retrieval without an answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from rag_app.server.access import SignedIn
from rag_app.server.keys import Principal
from rag_app.server.shapes import Body, Text, outcome_shape, passage_shape
from rag_app.server.state import Server, ServerState
from rankgate.decide.gate import Action
from rankgate.scorers import ScoreContext

router = APIRouter(prefix="/v1", tags=["search"])


class SearchRequest(Body):
    """What to look for."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "How is a gate fitted?", "top_n": 3}]}
    )

    query: Annotated[Text, Field(min_length=1, max_length=4000)]
    collection: Text | None = None
    top_n: Annotated[int, Field(ge=1, le=100)] | None = None
    force: Action | None = None


@router.post("/search")
async def search(
    body: SearchRequest, request: Request, server: Server, principal: SignedIn
) -> dict[str, Any]:
    """The passages for a question, best first; empty where the floor refuses it.

    Evaluators also get every score, the gate's decision, and what was dropped.
    """
    return await server.workers.run(
        lambda limits: _search(body, server, principal, limits), request
    )


def _search(
    body: SearchRequest, server: ServerState, principal: Principal, limits: ScoreContext
) -> dict[str, Any]:
    pipeline = server.pipeline(body.collection, principal)
    found = pipeline.search(body.query, top_n=body.top_n, force=body.force, limits=limits)
    outcome = found.outcome
    server.verify(pipeline, [p.candidate.id for p in outcome.passages])
    server.metrics.searched(outcome)
    shape = {
        "query": body.query,
        "collection": pipeline.settings.collection,
        "retrieval": outcome_shape(outcome, principal),
        "results": [passage_shape(p, principal) for p in outcome.kept],
    }
    if principal.evaluator:
        shape["dropped"] = [passage_shape(p, principal) for p in outcome.dropped]
        shape["trace"] = found.trace()
    return shape
