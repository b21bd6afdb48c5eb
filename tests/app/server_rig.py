"""A server over a small index: in this process without a socket, or on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from pathlib import Path

import httpx
import uvicorn
from waiting import auntil, until

from rag_app.generate.answer import Answer
from rag_app.ingest.ingestion import ingest_into
from rag_app.server.app import create_app
from rag_app.server.collections import Collections
from rag_app.server.keys import KeyStore, Role
from rankgate.testing import FakeScorer

__all__ = [
    "TEXTS",
    "StepGenerator",
    "bearer",
    "finished",
    "in_process",
    "key",
    "on_port",
    "taken_port",
    "upload",
]

TEXTS = {
    "harbour.txt": "The harbour master logs every ship that enters the harbour.",
    "bread.txt": "A sourdough rests for twelve hours in a cool place.",
    "gate.txt": "The gate decides whether a question is reranked at all.",
}


class StepGenerator:
    """Writes one piece each time it is let; what it did can be read."""

    mode = "extractive"

    def __init__(self, pieces=("one ", "two ", "three"), *, error=None):
        self.pieces = pieces
        self.error = error
        self.may = threading.Semaphore(0)
        self.written = 0
        self.closed = threading.Event()

    def let(self, count):
        for _ in range(count):
            self.may.release()

    def answer(self, question, context):
        *_, last = self.stream(question, context)
        return last

    def stream(self, question, context):
        try:
            for piece in self.pieces:
                assert self.may.acquire(timeout=20), "nobody let the generator go on"
                self.written += 1
                yield piece
            if self.error is not None:
                raise self.error
            yield Answer(text="".join(self.pieces), mode=self.mode, read=len(context.sources))
        finally:
            self.closed.set()


def fill(opened, base, collections):
    """Ingest texts: collection to name to text."""
    for collection, texts in collections.items():
        folder = Path(base) / f"docs-{collection}"
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
        if texts:
            opened.write(collection, lambda s, f=folder: ingest_into(s, [f])).result(60)


def make(base, files, *, collections=None, embedder=None, scorer=None, generator=None, **settings):
    """Settings, and a opened over freshly ingested texts; a scorer by name is the settings' own."""
    if isinstance(scorer, str):
        settings["scorer"] = scorer
    chosen = files.make_settings(base, **settings)
    opened = Collections(
        chosen,
        embedder=files.FakeEmbedder() if embedder is None else embedder,
        scorer=FakeScorer() if scorer is None else None if isinstance(scorer, str) else scorer,
        generator=generator,
    )
    fill(opened, base, {"default": TEXTS} if collections is None else collections)
    return chosen, opened


@contextlib.asynccontextmanager
async def in_process(base, files, **options):
    """A client of the application, without a socket; with `collections` and `app`."""
    settings, opened = await asyncio.to_thread(lambda: make(base, files, **options))
    try:
        app = create_app(settings, collections=opened)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8000", timeout=30
            ) as client:
                client.collections, client.app, client.settings = opened, app, settings
                yield client
    finally:
        await asyncio.to_thread(opened.close)


@contextlib.contextmanager
def on_port(base, files, **options):
    """A server on a free port, in a thread: its address, and its application and opened."""
    settings, opened = make(base, files, **options)
    app = create_app(settings, collections=opened)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=10)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", app, opened
    finally:
        server.should_exit = True
        thread.join(30)
        opened.close()


@contextlib.contextmanager
def taken_port():
    """A port that somebody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def key(settings, *, name="somebody", role="user", collections=None):
    """A new key of the data folder."""
    made = KeyStore(settings.data_dir).create(name=name, role=Role(role), collections=collections)
    return made[1]


def bearer(secret):
    """The header that carries it."""
    return {"Authorization": f"Bearer {secret}"}


async def upload(client, *parts, collection=None, headers=None):
    """Upload (name, content) parts and wait until all are through; the job."""
    files = [("files", (name, content)) for name, content in parts]
    data = {} if collection is None else {"collection": collection}
    response = await client.post("/v1/documents", files=files, data=data, headers=headers)
    assert response.status_code == 202, response.text
    return await finished(client, response.json(), headers=headers)


async def finished(client, job, *, headers=None):
    """Wait until an upload's job is through; the job as it then is."""

    async def through():
        now = (await client.get(f"/v1/jobs/{job['id']}", headers=headers)).json()
        return now if now["state"] == "done" else None

    return await auntil(through)
