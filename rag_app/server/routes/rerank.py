"""Our scorer under Cohere's (`/v2/rerank`) and Jina's (`/v1/rerank`) interfaces.

There is no first stage here and so no gate, no floor and no probability: the caller wants these
documents ordered by the scorer. `relevance_score` is its raw score brought into [0, 1] (sigmoid of
a logit, a similarity clipped at 0), which keeps the order and is comparable within one model only.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, JsonValue

from rag_app.server.access import SignedIn
from rag_app.server.errors import ApiError, invalid
from rag_app.server.shapes import Lenient, Text
from rag_app.server.state import Server, ServerState
from rankgate.errors import ScorerError
from rankgate.plan import as_query
from rankgate.scorers import ScoreContext
from rankgate.scorers.protocol import Job
from rankgate.scorers.steps import score_many

router = APIRouter(tags=["rerank"])

_MAX_DOCUMENTS = 1000
Query = Annotated[Text, Field(min_length=1, max_length=10_000)]
Document = Annotated[Text, Field(max_length=200_000)]
_EXAMPLE: dict[str, JsonValue] = {
    "model": "rankgate",
    "query": "How is a gate fitted?",
    "documents": ["Gates are fitted on labelled queries.", "Bread is baked."],
    "top_n": 1,
}


class JinaRequest(Lenient):
    """What Jina's clients send, and Cohere's for both of their versions.

    Attributes:
        documents: texts, or objects whose `rank_fields` are read (usually `text`).
        return_documents: usually on for Jina's interface, off for Cohere's.
        max_chunks_per_doc, max_tokens_per_doc, priority: taken and not needed.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    model: Text = "rankgate"
    query: Query
    documents: Annotated[
        list[Document | dict[str, JsonValue]], Field(min_length=1, max_length=_MAX_DOCUMENTS)
    ]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None
    rank_fields: Annotated[list[Text], Field(min_length=1)] | None = None
    max_chunks_per_doc: Annotated[int, Field(ge=1)] | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = None
    priority: int | None = None

    def texts(self) -> list[str]:
        """What is read of each document.

        Raises:
            ApiError: an object has none of the fields.
        """
        return [
            document if isinstance(document, str) else self._text(number, document)
            for number, document in enumerate(self.documents)
        ]

    def _text(self, number: int, document: dict[str, JsonValue]) -> str:
        fields = ["text"] if self.rank_fields is None else self.rank_fields
        found = {name: str(document[name]) for name in fields if document.get(name) is not None}
        if not found:
            place = f"documents.{number}"
            raise invalid(place, f"{place}: has no {' or '.join(fields)} (rank_fields)")
        if len(found) == 1:
            return next(iter(found.values()))
        return "\n".join(f"{name}: {value}" for name, value in found.items())


class CohereRequest(JinaRequest):
    """Cohere's; a field that it does not know is an error there, and here."""

    model_config = ConfigDict(extra="forbid")


@router.post("/v2/rerank")
async def cohere(
    body: CohereRequest, request: Request, server: Server, principal: SignedIn
) -> dict[str, Any]:
    """Order documents for a query, as Cohere's API does."""
    return await _answer(body, request, server, with_documents=False)


@router.post("/v1/rerank")
async def jina(
    body: JinaRequest, request: Request, server: Server, principal: SignedIn
) -> dict[str, Any]:
    """Order documents for a query, as Jina's API does, and Cohere's did before its version 2."""
    return await _answer(body, request, server, with_documents=True)


async def _answer(
    body: JinaRequest, request: Request, server: ServerState, *, with_documents: bool
) -> dict[str, Any]:
    """What either's clients read; each passes over what is the other's."""
    texts = body.texts()
    rows, tokens = await server.workers.run(
        lambda limits: _ranked(server, body.query, texts, limits), request
    )
    if body.return_documents is not None:
        with_documents = body.return_documents
    results: list[dict[str, Any]] = []
    for i, score in rows[: body.top_n]:
        given = body.documents[i]
        # Cohere's and LiteLLM's clients want a text in whatever comes back.
        fields = {"text": texts[i], **(given if isinstance(given, dict) else {})}
        shown = {"document": fields}
        results.append({"index": i, "relevance_score": score, **(shown if with_documents else {})})
    return {
        "id": str(uuid.uuid4()),
        "model": body.model,
        "object": "list",
        "usage": {"total_tokens": tokens, "prompt_tokens": tokens},
        "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 0}},
    }


def _ranked(
    server: ServerState, query: str, texts: list[str], limits: ScoreContext
) -> tuple[list[tuple[int, float]], int]:
    """(index, score) best first, ties by position, and tokens read."""
    as_query(query)
    scorer = server.scorer()
    (scores,) = score_many(scorer, [Job(query=query, texts=texts)], limits)
    if not scores.complete:
        if limits.should_stop:
            raise ApiError(504, "timeout", "not all documents could be read in time; send fewer")
        unread = int((~scores.scored).sum())
        raise ScorerError(f"{unread} of {len(texts)} documents could not be read")
    values = scores.values.astype(np.float64)
    # A logit has no bounds; a similarity has, and below 0 it says the same as 0.
    unit = 1.0 / (1.0 + np.exp(-values)) if scores.scale == "logit" else np.clip(values, 0.0, 1.0)
    order = np.argsort(-values, kind="stable")
    return [(int(i), float(unit[i])) for i in order], scores.stats.tokens
