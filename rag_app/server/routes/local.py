"""What commands in a terminal ask of the server that has their data folder open.

For the folder's owner alone (`rag_app.served`), because it reads any file of this machine. Every
answer is a stream of events: what happens on the way, and `result` as the last.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from rag_app.ask.condense import Exchange
from rag_app.checks import contents
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest_into
from rag_app.ingest.report import Progress
from rag_app.served import said
from rag_app.server.access import Owner
from rag_app.server.errors import ApiError, error_body, mapped
from rag_app.server.routes.sse import EventStream, event
from rag_app.server.shapes import Body, Text
from rag_app.server.state import Server, ServerState
from rankgate.errors import RankgateError
from rankgate.scorers import ScoreContext

router = APIRouter(prefix="/v1/local", include_in_schema=False)


@router.get("")
def found(server: Server, owner: Owner) -> dict[str, str]:
    """Whose server this is."""
    return {"data_dir": str(Path(server.settings.data_dir).resolve())}


class Ask(Body):
    """A question of `rankgate ask`, `search` or `chat`."""

    question: Text
    collection: Text
    history: tuple[dict[str, Text], ...] = ()
    force: Literal["rerank", "skip"] | None = None
    top_n: Annotated[int, Field(ge=1)] | None = None
    generator: Literal["extractive", "openai"] | None = None
    search: bool = False


@router.post("/ask")
async def ask(body: Ask, request: Request, server: Server, owner: Owner) -> EventStream:
    """Pieces of the answer, then all that is told of it."""
    options = body.model_dump(exclude_none=True, exclude={"question", "collection", "history"})
    if not body.search:
        options["history"] = [Exchange(**exchange) for exchange in body.history]

    def answered(limits: ScoreContext) -> Iterator[dict[str, Any]]:
        pipeline = server.pipeline(body.collection, owner)
        for item in said(pipeline, body.question, limits=limits, **options):
            yield {"piece": item} if isinstance(item, str) else {"result": item}

    items = server.workers.iterate(answered, request)
    first = await anext(items)  # what fails at once has an HTTP status

    async def events() -> AsyncGenerator[bytes]:
        try:
            yield event(first)
            async for item in items:
                yield event(item)
        except (ApiError, RankgateError) as exc:
            yield _failed(exc)
        finally:
            await items.aclose()

    return EventStream(events())


class Ingest(Body):
    """Files and folders of this machine."""

    paths: Annotated[list[Text], Field(min_length=1)]
    collection: Text
    rebuild: bool = False


@router.post("/ingest")
async def ingest(body: Ingest, server: Server, owner: Owner) -> EventStream:
    """Progress, then the report; whoever leaves ends the run before its next file."""
    name = server.collection(body.collection, owner, create=True)
    exclude = [Path(server.settings.data_dir)]

    def run(store: Store, tell: Callable[[Progress], None]) -> dict[str, Any]:
        return ingest_into(store, body.paths, progress=tell, exclude=exclude).to_dict()

    return EventStream(_written(server, name, run, rebuild=body.rebuild))


class _LeftError(Exception):
    """Nobody waits for the run any more."""


async def _written(
    server: ServerState,
    name: str,
    run: Callable[[Store, Callable[[Progress], None]], dict[str, Any]],
    *,
    rebuild: bool,
) -> AsyncGenerator[bytes]:
    """What a run of the writer's says, as events."""
    loop, gone = asyncio.get_running_loop(), threading.Event()
    queue: asyncio.Queue[Progress | None] = asyncio.Queue()

    def tell(progress: Progress) -> None:
        if gone.is_set() or server.collections.closing:
            raise _LeftError
        loop.call_soon_threadsafe(queue.put_nowait, progress)

    def work(store: Store) -> dict[str, Any]:
        try:
            return run(store, tell)
        except _LeftError:
            store.settle()
            raise

    try:
        queued = await asyncio.to_thread(server.collections.write, name, work, rebuild=rebuild)
        written = asyncio.wrap_future(queued)
        written.add_done_callback(lambda _: queue.put_nowait(None))
        while (progress := await queue.get()) is not None:
            yield event({"progress": asdict(progress)})
        yield event({"result": written.result()})
    except RankgateError as exc:
        yield _failed(exc)
    except _LeftError:
        yield event(error_body(503, "closing", "the server is stopping; run it again"))
    finally:
        gone.set()


class Collection(Body):
    """Which collection."""

    collection: Text


@router.post("/doctor")
def doctor(body: Collection, server: Server, owner: Owner) -> EventStream:
    """The checks of a collection that only its opener can make."""
    store = server.collections.store(body.collection, create=True)
    return _one([asdict(check) for check in contents(store.settings, store)])


def _one(result: Any) -> EventStream:
    async def events() -> AsyncGenerator[bytes]:
        yield event({"result": result})

    return EventStream(events())


def _failed(exc: ApiError | RankgateError) -> bytes:
    error = exc if isinstance(exc, ApiError) else mapped(exc)
    return event(error_body(error.status, error.code, error.message))
