"""Puts the server together."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator
from contextlib import (
    asynccontextmanager,
    suppress,
)
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from rag_app.ask.conversations import Conversations
from rag_app.quality.judging import Judging
from rag_app.quality.skip_audit import SkipAudit
from rag_app.quality.traffic import Traffic
from rag_app.quality.trial import Trial
from rag_app.server.access import Access, is_local
from rag_app.server.collections import Collections
from rag_app.server.errors import add_error_handlers
from rag_app.server.intake.uploads import Uploads
from rag_app.server.metrics import Metrics
from rag_app.server.openapi import describe
from rag_app.server.pages import add_pages
from rag_app.server.routes import (
    chat,
    compare,
    documents,
    feedback,
    health,
    judge,
    local,
    rerank,
    search,
)
from rag_app.server.routes import (
    conversations as conversation_routes,
)
from rag_app.server.state import ServerState
from rag_app.server.transport.middleware import RequestChecks
from rag_app.server.workers import Workers

if TYPE_CHECKING:
    from rag_app.settings import Settings

logger = logging.getLogger("rankgate.server")

_DAY_S = 24 * 3600.0
_LOCAL = ("127.0.0.1", "localhost", "::1")


def create_app(
    settings: Settings, *, collections: Collections | None = None, judging: Judging | None = None
) -> FastAPI:
    """The application over one data folder.

    Args:
        collections: the opened data folder, which the caller closes; None: opened when the server
            starts and closed when it stops.
        judging: the judging sessions; None: those of the data folder.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Chroma takes a second or two; whoever starts us may want to say so meanwhile.
        opened = (
            await asyncio.to_thread(Collections, settings) if collections is None else collections
        )
        workers = Workers(
            at_once=settings.max_concurrent,
            waiting=settings.max_waiting,
            timeout_s=settings.request_timeout_s,
        )
        uploads = Uploads(opened)
        conversations = Conversations(Path(settings.data_dir))
        skip_audit = SkipAudit(
            Path(settings.data_dir), rate=settings.skip_audit_rate, busy=lambda: workers.taken > 0
        )
        traffic = Traffic(Path(settings.data_dir))
        trial = None if settings.policy_b is None else Trial(Path(settings.data_dir))
        sessions = Judging(Path(settings.data_dir)) if judging is None else judging
        app.state.server = ServerState(
            settings=settings,
            collections=opened,
            access=app.state.access,
            workers=workers,
            metrics=metrics,
            uploads=uploads,
            conversations=conversations,
            skip_audit=skip_audit,
            traffic=traffic,
            trial=trial,
            judging=sessions,
        )
        await asyncio.to_thread(uploads.resume)
        try:
            async with forgetting(conversations, settings.conversation_days), _mcp(app, settings):
                yield
        finally:
            await workers.close()
            await asyncio.to_thread(skip_audit.close)
            await asyncio.to_thread(sessions.close)
            traffic.close()
            if trial is not None:
                trial.close()
            conversations.close()
            if collections is None:
                await asyncio.to_thread(opened.close)

    app = FastAPI(
        title="rankgate",
        summary="Answers from your documents, with sources; reranked only where it pays.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere; /openapi.json is there
        redoc_url=None,
    )
    access = Access(Path(settings.data_dir), may_be_open=is_local(settings.host))
    app.state.access = access
    describe(app)
    add_error_handlers(app)
    for routes in (
        health,
        chat,
        search,
        compare,
        judge,
        documents,
        conversation_routes,
        feedback,
        rerank,
        local,
    ):
        app.include_router(routes.router)
    add_pages(app)

    app.add_middleware(
        RequestChecks,
        access=access,
        hosts={*_LOCAL, settings.host, *settings.trusted_hosts},
        origins=settings.cors_origins,
        max_body=int(settings.max_body_mb * 2**20),
        max_upload=int(settings.max_upload_mb * 2**20),
        requests=metrics.requests,
    )
    if settings.cors_origins:
        # Outermost, so that a page that may call can also read what the guard refuses.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE", "PATCH"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    return app


def in_process(app: FastAPI, timeout_s: float) -> httpx.AsyncClient:
    """A client of the application without a socket, for what speaks another protocol for it."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app, raise_app_exceptions=False),
        base_url="http://127.0.0.1",
        timeout=timeout_s,
    )


@asynccontextmanager
async def _mcp(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    """The tools at /mcp while the block lasts, where the extra is installed."""
    if importlib.util.find_spec("mcp") is None:
        yield
        return
    from rag_app.server.mcp import mcp_routes

    http = in_process(app, settings.request_timeout_s + 10.0)
    async with http, mcp_routes(http) as routes:
        own, app.router.routes = app.router.routes, [*app.router.routes, *routes]
        try:
            yield
        finally:
            app.router.routes = own


@asynccontextmanager
async def forgetting(
    conversations: Conversations, days: float | None, *, every_s: float = _DAY_S
) -> AsyncIterator[None]:
    """Delete what is too old before the block begins, and once a day while it lasts.

    Args:
        days: since the last turn; None: everything is kept for ever.
        every_s: seconds between two looks.

    Raises:
        StoreError: the file cannot be used; only before the block begins.
    """
    if days is None:
        yield
        return
    await _forget(conversations, days)
    task = asyncio.create_task(_daily(conversations, days, every_s))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _daily(conversations: Conversations, days: float, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await _forget(conversations, days)
        except Exception:  # a full disk today is no reason to keep things for ever
            logger.exception("old conversations could not be deleted")


async def _forget(conversations: Conversations, days: float) -> None:
    gone = await asyncio.to_thread(conversations.forget_older_than, days)
    if gone:
        logger.info("deleted %d conversations, untouched for %g days", gone, days)
