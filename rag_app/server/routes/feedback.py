"""Thumbs and opened sources, kept where the server's owner switched `feedback` on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import ConfigDict, Field, model_validator

from rag_app.ask.conversations import Conversation, Turn, UnknownConversationError
from rag_app.quality.judged import judge
from rag_app.quality.ratings import Ratings
from rag_app.server.access import SignedIn
from rag_app.server.errors import ApiError, invalid
from rag_app.server.keys import Principal
from rag_app.server.shapes import Body, Text
from rag_app.server.state import Server, ServerState

router = APIRouter(prefix="/v1", tags=["feedback"])


class FeedbackRequest(Body):
    """A thumb for an answer, or a source that was opened. Passages are the server's own record."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"conversation": "5f1c", "turn": "9a0e", "verdict": "up"}],
        }
    )

    conversation: Text
    turn: Text
    verdict: Literal["up", "down"] | None = None
    reason: Literal["sources", "beside_the_point", "incomplete", "outdated"] | None = Field(
        None, description="of a thumb down; `sources`: the cited passages do not fit the question"
    )
    opened: Annotated[int, Field(ge=1)] | None = Field(None, description="number of a source")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.verdict is None) == (self.opened is None):
            raise ValueError("give either verdict or opened")
        if self.reason is not None and self.verdict != "down":
            raise ValueError("reason goes with verdict down")
        return self


@router.post("/feedback", status_code=201)
async def feedback(body: FeedbackRequest, server: Server, principal: SignedIn) -> dict[str, Any]:
    """Keep what somebody thought of an answer. 409 unless the setting `feedback` is on."""
    if not server.settings.feedback:
        raise ApiError(
            409,
            "feedback_off",
            "this server keeps no feedback; whoever runs it can set feedback = true",
        )
    return {"judgements": await asyncio.to_thread(_keep, body, server, principal)}


def _keep(body: FeedbackRequest, server: ServerState, principal: Principal) -> int:
    """Write it down; how many passages were judged."""
    kept = server.conversations.get(body.conversation, owner=principal.id)
    principal.check(kept.collection)
    turn = next((t for t in kept.turns if t.id == body.turn), None)
    if turn is None:
        raise UnknownConversationError(f"there is no turn {body.turn!r} in this conversation")
    sources = list(turn.details.get("sources", ()))
    if body.opened is not None:
        found = [s for s in sources if s["number"] == body.opened]
        if not found:
            raise invalid("opened", f"the answer has no source {body.opened}")
        return _judged(server, kept, turn, found, relevant=True, kind="opened")
    up = body.verdict == "up"
    reason = "" if body.reason is None else body.reason
    Ratings(Path(server.settings.data_dir)).add(turn.id, up=up, reason=reason)
    # Other reasons for a thumb down say nothing about the passages.
    speaks = sources if up or reason == "sources" else []
    return _judged(server, kept, turn, speaks, relevant=up, kind="thumb")


def _judged(
    server: ServerState,
    kept: Conversation,
    turn: Turn,
    sources: list[dict[str, Any]],
    *,
    relevant: bool,
    kind: str,
) -> int:
    """The verdict in the feedback log, and to the credit of the policy that drafted the source."""
    if server.trial is not None:
        chunks = [s["chunk_id"] for s in sources]
        server.trial.credit(turn.id, turn.details.get("teams", {}), chunks, relevant=relevant)
    return judge(server.collections, kept, turn, sources, relevant=relevant, kind=kind)
