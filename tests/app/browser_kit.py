"""A real server on a free port and a real Chromium that tells everything that goes wrong."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import ingest_files as files
import pytest
import uvicorn
from waiting import until

from rag_app.generate.extractive import ExtractiveGenerator
from rag_app.ingest.ingestion import ingest_into
from rag_app.quality.judging import Judging
from rag_app.server.app import create_app
from rag_app.server.collections import Collections
from rankgate import Floor, Policy, Profile, RelevanceModel
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.errors import ScorerError
from rankgate.testing import FakeScorer

__all__ = [
    "ARGUMENTS",
    "CHROMIUM",
    "COMPARE",
    "GATE",
    "QUESTION",
    "Breakable",
    "Eyes",
    "FakeEncoder",
    "SlowWords",
    "ask",
    "browser",
    "eyes",
    "looking",
    "needs_browser",
    "policy_file",
    "serving",
    "serving_collection",
    "small_collection",
]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    # Cheaper: no process for a GPU that is not there, no colour fringes around letters.
    "--in-process-gpu",
    "--disable-lcd-text",
]
needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ,
        reason="no chromium here; CI installs one (.ci/run)",
    ),
]

QUESTION = "What decides before the second stage?"
COMPARE = "/compare?q=What+decides+before+the+second+stage%3F"

# Letters beyond 16 bits come first: offsets must count them as one, as Python does.
GATE = """# Gate \N{GRINNING FACE}\N{ROCKET}

## Purpose

The gate decides before the second stage whether reranking is worth its time.

## Fitting

A gate is fitted on labelled questions, and its threshold is a probability of harm.

## Hostile

The villain writes <img src=x onerror="document.title='owned'"> and <b>bold</b> into documents.
"""
FLOOR = """# Floor

## Refusal

The floor refuses a question when even the best passage is too weak.

## Dropping

Passages below the threshold are dropped one by one, and the others stay.
"""


@pytest.fixture(scope="module")
def browser():
    """A started Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class FakeEncoder(files.FakeEmbedder):
    """Token vectors for late interaction, without a model."""

    def encode(self, texts, should_stop=None):
        return super().encode(list(texts))


def policy_file(folder, *, refuse_below=0.5, scale="fake", scorer=None):
    """Probability = sigmoid(10 (share of the question's words - 0.3)); short questions skip."""
    model = RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=10.0, mean=0.3),)), scale=scale
    )
    first = RelevanceModel(model=Logistic(features=(Feature(name="dense", weight=10.0, mean=0.1),)))
    short = Rule(name="short", conditions=(Condition(signal="query_words", op="<=", value=2),))
    policy = Policy.unfitted(k=20, top_n=2).with_section(
        "hybrid",
        profile=Profile(scorer=scorer),
        reranked=model,
        first_stage=first,
        floor=Floor(refuse_below=refuse_below),
        gate=Gate(rules=(short,)),
    )
    file = folder / "policy.json"
    policy.save(file)
    return file


class Breakable:
    """Word overlap, until `broken`."""

    def __init__(self):
        self.broken = False
        self._inner = FakeScorer()
        self.info = self._inner.info

    def score(self, query, texts, context=None):
        if self.broken:
            raise ScorerError("broken on purpose")
        return self._inner.score(query, texts, context)


def small_collection(server, folder):
    """Two documents, the second one after an emoji."""
    (folder / "gate.md").write_text(GATE, "utf-8")
    (folder / "floor.md").write_text(FLOOR, "utf-8")
    server.ingest(folder / "gate.md", folder / "floor.md")


def ask(page, question):
    """Ask on the page, and wait for the end; the turn."""
    count = page.locator(".turn").count()
    page.fill("#question", question)
    page.press("#question", "Enter")
    turn = page.locator(".turn").nth(count)
    turn.locator("[data-part=under]:not([hidden])").wait_for()
    return turn


class SlowWords:
    """The extractive generator, a word at a time; stops where a test wants it to."""

    mode = "extractive"

    def __init__(self):
        self.stops_before, self.go = None, threading.Event()
        self._inner = ExtractiveGenerator(None)

    def stop_before(self, word):
        """Stop before this word until `go` is set; None: nowhere."""
        self.stops_before = word
        self.go.clear()

    def answer(self, question, context):
        return self._inner.answer(question, context)

    def stream(self, question, context):
        for event in self._inner.stream(question, context):
            if not isinstance(event, str):
                yield event
                continue
            for word in event.split(" "):
                if word == self.stops_before:
                    assert self.go.wait(60), "nobody let the generator go on"
                yield f"{word} "


class Running:
    """What a test may touch of a running server."""

    def __init__(self, url, opened, app, generator, scorer, data):
        self.url, self.collections, self.app = url, opened, app
        self.generator, self.scorer, self.data = generator, scorer, data

    def ingest(self, *paths, collection="default"):
        """Read files in, as an upload would."""
        self.collections.write(collection, lambda store: ingest_into(store, list(paths))).result()


@contextmanager
def serving(base, *, scorer=None, judging=None, **changes):
    """A server over `base`/data with fake models; real store, real pipeline, real HTTP."""
    settings = files.make_settings(base, **changes)
    generator = SlowWords()
    scorer = Breakable() if scorer is None else scorer
    with (
        socket.socket() as bound,
        Collections(
            settings,
            embedder=files.FakeEmbedder(),
            scorer=scorer,
            generator=generator,
        ) as opened,
    ):
        bound.bind(("127.0.0.1", 0))
        bound.listen(64)
        sessions = None if judging is None else Judging(Path(settings.data_dir), core=judging)
        app = create_app(settings, collections=opened, judging=sessions)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        until(lambda: server.started or not thread.is_alive())
        assert server.started
        try:
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            yield Running(url, opened, app, generator, scorer, Path(settings.data_dir))
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
        self._usual = self._resting = None

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
        """Open a path; waits until its module has run. By default in the usual profile."""
        if context is not None or more or self._resting is None:
            if context is None:
                context = self.context(**more) if more else self._profile()
            page = context.new_page()
            page.on("console", self._console)
            page.on("pageerror", lambda e: self.wrong.append(f"exception: {e}"))
        else:
            page, self._resting = self._resting, None
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

    def _profile(self):
        """One profile for all tests of a module: a new one loads and compiles everything anew."""
        if self._usual is None:
            self._usual = self.context()
            self._contexts.remove(self._usual)
        return self._usual

    def rest(self):
        """After a test: close what it opened, and let the usual profile forget; what went wrong.

        One page stays, empty: a process and a cache for each test is most of what a browser costs.
        """
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        if self._usual is not None:
            self._resting, *others = self._usual.pages
            self._resting.evaluate("try { localStorage.clear() } catch {}")
            self._resting.goto("about:blank")
            for page in others:
                page.close()
            self._usual.clear_cookies()
        wrong, self.wrong = self.wrong, []
        self.expected = set()
        return wrong

    def close(self):
        self.rest()
        if self._usual is not None:
            self._usual.close()


@contextmanager
def serving_collection(tmp_path_factory, **changes):
    """A server with a policy that has every part, and the small collection."""
    base = tmp_path_factory.mktemp("served")
    with serving(base, policy=policy_file(base), **changes) as server:
        small_collection(server, base)
        yield server


@pytest.fixture(scope="module")
def looking(browser, served):
    """One pair of eyes for all tests of a module."""
    found = Eyes(browser, served.url)
    yield found
    found.close()


@pytest.fixture
def eyes(looking):
    """They rest after each test, and have seen nothing wrong."""
    yield looking
    assert looking.rest() == []
