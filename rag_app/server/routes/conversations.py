"""Conversations: list, read, rename, export, delete. Each caller sees their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from rag_app.ask.conversations import Conversation, Turn, export_json, export_markdown
from rag_app.generate.markdown_html import answer_html
from rag_app.quality.ratings import Ratings
from rag_app.server.access import SignedIn
from rag_app.server.keys import Principal
from rag_app.server.shapes import Text, kept_shape
from rag_app.server.state import Server, ServerState

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])


class NewConversation(BaseModel):
    """Which collection it asks."""

    model_config = ConfigDict(extra="forbid")

    collection: Text | None = None


class Renaming(BaseModel):
    """Another title."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[Text, Field(min_length=1, max_length=200)]


@router.get("")
async def listed(server: Server, principal: SignedIn) -> dict[str, Any]:
    """The caller's conversations, the latest first."""
    found = await asyncio.to_thread(server.conversations.all, principal.id)
    return {"conversations": [_head(c) for c in found]}


@router.post("", status_code=201)
async def create(body: NewConversation, server: Server, principal: SignedIn) -> dict[str, Any]:
    """Begin one; name it as `conversation` in `/v1/chat/completions`."""

    def make() -> Conversation:
        collection = server.collection(body.collection, principal)
        return server.conversations.create(owner=principal.id, collection=collection)

    return _head(await asyncio.to_thread(make))


@router.delete("")
async def delete_all(server: Server, principal: SignedIn) -> dict[str, Any]:
    """Delete all of the caller's conversations."""
    return {"deleted": await asyncio.to_thread(server.conversations.delete_all, principal.id)}


@router.get("/{conversation}")
async def read(conversation: str, server: Server, principal: SignedIn) -> dict[str, Any]:
    """One conversation with its turns, and how each answer was rated."""

    def look() -> dict[str, Any]:
        found = _kept(server, conversation, principal)
        rated = Ratings(Path(server.settings.data_dir)).latest({t.id for t in found.turns})
        turns = [{**turn_shape(t), "rating": _rating(rated.get(t.id))} for t in found.turns]
        return {**_head(found), "turns": turns}

    return await asyncio.to_thread(look)


@router.patch("/{conversation}")
async def rename(
    conversation: str, body: Renaming, server: Server, principal: SignedIn
) -> dict[str, Any]:
    """Give it another title."""
    changed = await asyncio.to_thread(
        lambda: server.conversations.rename(conversation, body.title, owner=principal.id)
    )
    return _head(changed)


@router.delete("/{conversation}")
async def delete(conversation: str, server: Server, principal: SignedIn) -> dict[str, Any]:
    """Delete it, in the file too."""
    await asyncio.to_thread(lambda: server.conversations.delete(conversation, owner=principal.id))
    return {"deleted": 1}


@router.delete("/{conversation}/turns/{turn}")
async def truncate(
    conversation: str, turn: str, server: Server, principal: SignedIn
) -> dict[str, Any]:
    """Delete a turn and all after it: the question is asked anew."""
    await asyncio.to_thread(
        lambda: server.conversations.truncate(conversation, turn, owner=principal.id)
    )
    return {"deleted": turn}


@router.get("/{conversation}/export")
async def export(
    conversation: str,
    server: Server,
    principal: SignedIn,
    format: Literal["markdown", "json"] = "markdown",
) -> Response:
    """The conversation as a file."""
    found = await asyncio.to_thread(_kept, server, conversation, principal)
    if format == "json":
        text, media, ending = export_json(found), "application/json", "json"
    else:
        text, media, ending = export_markdown(found), "text/markdown; charset=utf-8", "md"
    name = f"conversation-{conversation[:8]}.{ending}"
    return Response(
        text,
        media_type=media,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _kept(server: ServerState, identifier: str, principal: Principal) -> Conversation:
    """A conversation as its owner may see it now: kept is what they might see then.

    Raises:
        UnknownConversationError: there is none, or it is somebody else's.
    """
    found = server.conversations.get(identifier, owner=principal.id)
    cited = [s.get("chunk_id", "") for t in found.turns for s in t.details.get("sources", ())]
    # The manifest alone is asked: a collection that cannot be opened is no reason to hide answers.
    reachable = cited and found.collection in principal.visible(server.collections)
    known = server.collections.passages(found.collection, cited) if reachable else {}
    turns = (replace(t, details=kept_shape(t.details, known, principal)) for t in found.turns)
    return replace(found, turns=tuple(turns))


def turn_shape(turn: Turn) -> dict[str, Any]:
    """A turn as it was answered."""
    numbers = [s["number"] for s in turn.details.get("sources", ())]
    return {
        "id": turn.id,
        "question": turn.question,
        "answer": turn.answer,
        "html": answer_html(turn.answer, cited=numbers),
        "status": turn.status,
        "asked": turn.asked.isoformat(),
        "details": dict(turn.details),
    }


def _rating(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A thumb, and for one down its reason; None where there is none."""
    if row is None:
        return None
    return {"verdict": row["verdict"], "reason": row["reason"] or None}


def _head(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "title": conversation.title,
        "collection": conversation.collection,
        "updated": conversation.updated.isoformat(),
    }
