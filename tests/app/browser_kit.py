"""A real server on a free port and a real Chromium that tells everything that goes wrong."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import ingest_files as files
import uvicorn

from rag_app.generate.extractive import ExtractiveGenerator
from rag_app.ingest.ingestion import ingest_into
from rag_app.server.app import create_app
from rag_app.server.hub import Hub
from rankgate.testing import FakeScorer

__all__ = ["ARGUMENTS", "CHROMIUM", "Eyes", "SlowWords", "serving", "without_browser"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
without_browser = CHROMIUM is None and "CI" not in os.environ


class SlowWords:
    """The extractive generator, a word at a time for as long as `pause` says."""

    mode = "extractive"

    def __init__(self):
        self.pause = 0.0
        self._inner = ExtractiveGenerator(None)

    def answer(self, question, context):
        return self._inner.answer(question, context)

    def stream(self, question, context):
        for event in self._inner.stream(question, context):
            if not isinstance(event, str):
                yield event
                continue
            for word in event.split(" "):
                time.sleep(self.pause)
                yield f"{word} "


class Running:
    """What a test may touch of a running server."""

    def __init__(self, url, hub, app, generator):
        self.url, self.hub, self.app, self.generator = url, hub, app, generator

    def ingest(self, *paths, collection="default"):
        """Read files in, as an upload would."""
        self.hub.write(collection, lambda store: ingest_into(store, list(paths))).result()


@contextmanager
def serving(base, *, scorer=None, **changes):
    """A server over `base`/data with fake models; real store, real pipeline, real HTTP."""
    settings = files.make_settings(base, **changes)
    generator = SlowWords()
    with (
        socket.socket() as bound,
        Hub(
            settings,
            embedder=files.FakeEmbedder(),
            scorer=FakeScorer() if scorer is None else scorer,
            generator=generator,
        ) as hub,
    ):
        bound.bind(("127.0.0.1", 0))
        bound.listen(64)
        app = create_app(settings, hub=hub)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        until = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive() and time.monotonic() < until, "the server did not start"
            time.sleep(0.02)
        try:
            yield Running(f"http://127.0.0.1:{bound.getsockname()[1]}", hub, app, generator)
        finally:
            server.should_exit = True
            thread.join(timeout=20)


class Eyes:
    """Opens pages of one server, and remembers what a user should never meet.

    Attributes:
        wrong: console errors, exceptions, violations of the content policy, foreign requests.
        expected: statuses of answers that the test asks for, whose console line is no fault.
    """

    def __init__(self, browser, url):
        self.browser, self.url = browser, url
        self.wrong, self.expected = [], set()
        self._contexts = []

    def context(self, *, width=1280, height=800, scheme="light", **more):
        """A fresh profile; its own cookies and storage."""
        made = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            base_url=self.url,
            **more,
        )
        made.set_default_timeout(30_000)
        made.on("request", self._request)
        self._contexts.append(made)
        return made

    def page(self, path="/", *, context=None, ready=True, **more):
        """Open a path; waits until its module has run."""
        page = (self.context(**more) if context is None else context).new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda e: self.wrong.append(f"exception: {e}"))
        page.goto(path)
        if ready:
            page.wait_for_selector("body[data-ready=yes]")
        return page

    def _request(self, request):
        if request.url.startswith(("data:", "blob:")):
            return
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.wrong.append(f"foreign request: {request.url}")

    def _console(self, message):
        if message.type not in ("error", "warning"):
            return
        if any(f"status of {code}" in message.text for code in self.expected):
            return
        self.wrong.append(f"console {message.type}: {message.text}")

    def close(self):
        for context in self._contexts:
            context.close()
        self._contexts.clear()
