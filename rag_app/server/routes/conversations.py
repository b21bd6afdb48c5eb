"""Conversations: list, read, rename, export, delete. Each caller sees their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from rag_app.ask.conversations import Conversation, Turn, export_json, export_markdown
from rag_app.generate.markdown_html import answer_html
from rag_app.quality.ratings import Ratings
from rag_app.server.access import SignedIn
from rag_app.server.keys import Principal
from rag_app.server.shapes import Body, Text, kept_shape
from rag_app.server.state import Server, ServerState

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])


class NewConversation(Body):
    """Which collection it asks."""

    collection: Text | None = None


class Renaming(Body):
    """Another title."""

    title: Annotated[Text, Field(min_length=1, max_length=200)]


@router.get("")
def listed(server: Server, principal: SignedIn) -> dict[str, Any]:
    """The caller's conversations, the latest first."""
    return {"conversations": [_head(c) for c in server.conversations.all(principal.id)]}


@router.post("", status_code=201)
def create(body: NewConversation, server: Server, principal: SignedIn) -> dict[str, Any]:
    """Begin one; name it as `conversation` in `/v1/chat/completions`."""
    collection = server.collection(body.collection, principal)
    return _head(server.conversations.create(owner=principal.id, collection=collection))


@router.delete("")
def delete_all(server: Server, principal: SignedIn) -> dict[str, Any]:
    """Delete all of the caller's conversations."""
    return {"deleted": server.conversations.delete_all(principal.id)}


@router.get("/{conversation}")
def read(conversation: str, server: Server, principal: SignedIn) -> dict[str, Any]:
    """One conversation with its turns, and how each answer was rated."""
    found = _kept(server, conversation, principal)
    rated = Ratings(Path(server.settings.data_dir)).latest({t.id for t in found.turns})
    turns = [{**turn_shape(t), "rating": _rating(rated.get(t.id))} for t in found.turns]
    return {**_head(found), "turns": turns}


@router.patch("/{conversation}")
def rename(
    conversation: str, body: Renaming, server: Server, principal: SignedIn
) -> dict[str, Any]:
    """Give it another title."""
    return _head(server.conversations.rename(conversation, body.title, owner=principal.id))


@router.delete("/{conversation}")
def delete(conversation: str, server: Server, principal: SignedIn) -> dict[str, Any]:
    """Delete it, in the file too."""
    server.conversations.delete(conversation, owner=principal.id)
    return {"deleted": 1}


@router.delete("/{conversation}/turns/{turn}")
def truncate(conversation: str, turn: str, server: Server, principal: SignedIn) -> dict[str, Any]:
    """Delete a turn and all after it: the question is asked anew."""
    server.conversations.truncate(conversation, turn, owner=principal.id)
    return {"deleted": turn}


@router.get("/{conversation}/export")
def export(
    conversation: str,
    server: Server,
    principal: SignedIn,
    format: Literal["markdown", "json"] = "markdown",
) -> Response:
    """The conversation as a file."""
    found = _kept(server, conversation, principal)
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
