"""What a running server holds, and how a request reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from rag_app.ask.conversations import Conversations
from rag_app.names import UnknownCollectionError, check_name
from rag_app.quality.judging import Judging
from rag_app.quality.skip_audit import SkipAudit
from rag_app.quality.traffic import Traffic
from rag_app.quality.trial import Trial
from rag_app.server.access import Access
from rag_app.server.collections import Collections
from rag_app.server.errors import ApiError
from rag_app.server.intake.uploads import Uploads
from rag_app.server.keys import Principal
from rag_app.server.metrics import Metrics
from rag_app.server.workers import Workers

if TYPE_CHECKING:
    from rag_app.ask.pipeline import Pipeline
    from rag_app.settings import Settings
    from rankgate import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The parts of one server."""

    settings: Settings
    collections: Collections
    access: Access
    workers: Workers
    metrics: Metrics
    uploads: Uploads
    conversations: Conversations
    skip_audit: SkipAudit
    traffic: Traffic
    trial: Trial | None
    judging: Judging

    def usual(self, principal: Principal) -> str | None:
        """What a request means that names no collection: the settings', or the caller's only one.

        None where the caller has several and the settings' is not among them.
        """
        own = principal.collections
        if own is None or self.settings.collection in own:
            return self.settings.collection
        return own[0] if len(own) == 1 else None

    def collection(self, name: str | None, principal: Principal, *, create: bool = False) -> str:
        """The collection that a request means. Looks into the manifest: not for the event loop.

        Args:
            name: as the request has it; None: the usual one.
            create: it need not be there yet.

        Raises:
            UnknownCollectionError: there is none of this name, or it is not the caller's, or the
                request has to name one.
            InputError: to be made, but not a name for a collection.
        """
        if name is None:
            name = self.usual(principal)
        if name is None:
            raise UnknownCollectionError(
                f"name a collection; this key reaches {', '.join(principal.collections or ())}"
            )
        principal.check(name)
        if create:
            check_name(name)
        elif name not in self.collections.names():
            raise UnknownCollectionError(f"there is no collection {name!r}")
        return name

    def pipeline(self, name: str | None, principal: Principal) -> Pipeline:
        """What answers from that collection; blocks while it is opened for the first time.

        Raises:
            UnknownCollectionError: as `collection`.
            EmptyIndexError: it holds nothing yet.
        """
        return self.collections.pipeline(self.collection(name, principal))

    def scorer(self) -> Scorer:
        """The scorer of the settings, without the passages of any collection."""
        return self.collections.scorer()

    def verify(self, pipeline: Pipeline, chunk_ids: list[str]) -> None:
        """The second look at whose passages are handed out; the first is the index query.

        Raises:
            ApiError: 500, and nothing is handed out: a passage belongs to another collection.
        """
        store = self.collections.store(pipeline.settings.collection)
        if store.manifest.elsewhere(store.collection, chunk_ids):
            raise ApiError(
                500, "internal", "a passage of another collection turned up; nothing is shown"
            )


def _state(request: Request) -> ServerState:
    state: ServerState = request.app.state.server
    return state


Server = Annotated[ServerState, Depends(_state)]
"""Dependency: the server's parts."""
