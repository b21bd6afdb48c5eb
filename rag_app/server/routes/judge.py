"""Labels by key press, for evaluators: sessions, their next question, and what was said of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends, Response
from pydantic import ConfigDict, Field, model_validator

from rag_app.quality.judging import UnknownSessionError
from rag_app.server.access import Evaluator
from rag_app.server.errors import ApiError
from rag_app.server.keys import Principal
from rag_app.server.shapes import Body, Text
from rag_app.server.state import Server, ServerState
from rankgate.errors import MissingExtraError


def _available(server: Server, principal: Evaluator) -> None:
    """Judging is the evaluation's, which may not be installed."""
    try:
        server.judging.core  # noqa: B018 - loaded here
    except MissingExtraError as exc:
        raise ApiError(409, "judging_off", str(exc)) from exc


router = APIRouter(prefix="/v1/judge", tags=["judge"], dependencies=[Depends(_available)])

_PER_PERSON = 100


class SessionRequest(Body):
    """Questions to begin a session with: given here, or those of the feedback log."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "may", "questions": ["How is a gate fitted?"]}],
        }
    )

    name: Annotated[Text, Field(min_length=3, max_length=63)]
    collection: Text | None = None
    questions: list[Annotated[Text, Field(max_length=4000)]] = Field(
        default_factory=list, max_length=1000
    )
    from_log: bool = False


class VerdictRequest(Body):
    """What somebody says of a question."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"question": "q1", "kind": "graded", "grades": {"9a0e": 2}}],
        }
    )

    question: Text
    kind: Literal["graded", "unanswerable", "skipped"]
    grades: dict[str, Annotated[int, Field(ge=0, le=2)]] = Field(
        default_factory=dict, description="passage to 0, 1 or 2; of every passage where graded"
    )
    seconds: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind != "graded" and self.grades:
            raise ValueError("grades go with kind graded")
        return self


@router.get("/sessions")
def sessions(server: Server, principal: Evaluator, collection: str | None = None) -> dict[str, Any]:
    """The judging sessions of a collection, and those whose questions are being run."""
    name = server.collection(collection, principal)
    return {"sessions": server.judging.sessions(name), "in_log": len(server.judging.asked(name))}


@router.post("/sessions", status_code=202)
async def begin(body: SessionRequest, server: Server, principal: Evaluator) -> dict[str, Any]:
    """Run questions with and without reranking in the background, and draw their order."""
    pipeline = await asyncio.to_thread(server.pipeline, body.collection, principal)
    collection = pipeline.settings.collection

    def make() -> None:
        asked = [*body.questions, *(server.judging.asked(collection) if body.from_log else ())]
        server.judging.begin(pipeline, body.name, asked)

    await asyncio.to_thread(make)
    return {"name": body.name, "collection": collection}


@router.get("/sessions/{name}")
def question(
    name: str,
    server: Server,
    principal: Evaluator,
    collection: str | None = None,
    question: str | None = None,
) -> dict[str, Any]:
    """A question with its passages in random order, without scores: the next one, or by its id."""
    return _shown(server, principal, collection, name, question)


@router.post("/sessions/{name}/verdicts", status_code=201)
def verdict(
    name: str,
    body: VerdictRequest,
    server: Server,
    principal: Evaluator,
    collection: str | None = None,
) -> dict[str, Any]:
    """Keep what was said; the next question."""
    session, core = _opened(server, principal, collection, name), server.judging.core
    session.add(
        core.Verdict(
            question=body.question,
            judge=principal.name,
            kind=core.Kind(body.kind),
            grades=body.grades,
            seconds=body.seconds,
        )
    )
    return _shown(server, principal, collection, name, None)


@router.get("/sessions/{name}/export")
def export(
    name: str, server: Server, principal: Evaluator, collection: str | None = None
) -> Response:
    """What people judged, as JSON lines for `rankgate eval FILE --collection NAME`."""
    session = _opened(server, principal, collection, name)
    return Response(
        str(server.judging.core.judged_lines(session)),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="{name}.jsonl"'},
    )


def _opened(server: ServerState, principal: Principal, collection: str | None, name: str) -> Any:
    try:
        return server.judging.open(server.collection(collection, principal), name)
    except UnknownSessionError as exc:
        raise ApiError(404, "session_not_found", str(exc)) from exc


def _shown(
    server: ServerState, principal: Principal, collection: str | None, name: str, wanted: str | None
) -> dict[str, Any]:
    session = _opened(server, principal, collection, name)
    said = session.by(principal.name)
    if wanted is not None and wanted not in session.by_id:
        raise ApiError(404, "question_not_found", f"there is no question {wanted!r}")
    asked = session.next(principal.name) if wanted is None else session.by_id[wanted]
    return {
        "name": name,
        "judge": principal.name,
        "done": len(said),
        "wanted": min(_PER_PERSON, len(session.questions)),
        "standing": server.judging.core.standing(session).to_dict(),
        "question": None
        if asked is None
        else {
            "id": asked.id,
            "text": asked.text,
            "passages": [{"id": p, "text": session.passages[p]} for p in asked.shown],
            "grades": dict(said[asked.id].grades) if asked.id in said else {},
        },
    }
