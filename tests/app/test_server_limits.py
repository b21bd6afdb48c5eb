"""One deadline for a request, and a client that has gone: over real sockets."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import fake_index
import fake_openai
import httpx
import ingest_files as files
import numpy as np
import pytest
import server_rig as rig

from rag_app.ask.pipeline import Pipeline
from rag_app.errors import RequestOverError
from rag_app.generate.answer import refusal
from rag_app.generate.context import Context, SourceText
from rag_app.generate.errors import GeneratorError
from rag_app.generate.openai import OpenAIGenerator
from rag_app.settings import Settings
from rankgate import Candidate, Deadline, Passage, ScorerInfo, Scores
from rankgate.scorers import ScoreContext
from rankgate.testing import FakeScorer

QUESTION = "What does the gate decide?"
CHAT = {"messages": [{"role": "user", "content": QUESTION}]}


class ChunkScorer:
    """Reads a text a chunk; the chunk under way ends only once its caller has gone."""

    info = ScorerInfo(id="fake", scale="fake")

    def __init__(self):
        self.reading, self.through = threading.Event(), threading.Event()
        self.begun = 0

    def score(self, query, texts, context=None):
        scored = np.zeros(len(texts), np.bool_)
        for i in range(len(texts)):
            if context.should_stop:
                break
            self.begun += 1
            self.reading.set()
            context.cancelled.wait(20)
            scored[i] = True
        self.through.set()
        return Scores(values=np.zeros(len(texts), np.float32), scale="fake", scored=scored)


class Spy:
    """A generator that is also an LLM for rewording; keeps what it was given."""

    mode = "openai"

    def __init__(self):
        self.lines, self.answers = [], []

    def line(self, task, text, limits):
        self.lines.append(limits.deadline)
        return "What does the gate of this house decide?"

    def answer(self, question, context):
        self.answers.append(context.limits.deadline)
        return refusal("openai")

    def stream(self, question, context):
        yield self.answer(question, context)


@contextmanager
def connected(url, path, body):
    """A socket on which a request has been sent; closed at the end of the block."""
    parts = urlsplit(url)
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as sock:
        sock.sendall(head.encode() + data)
        yield sock


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**CHAT, "stream": True}),
        ("/v1/chat/completions", CHAT),
        ("/v1/search", {"query": QUESTION}),
        ("/v1/compare", {"question": QUESTION}),
        ("/v1/rerank", {"query": QUESTION, "documents": ["a", "b", "c"]}),
    ],
)
def test_a_client_that_leaves_before_the_first_word_frees_its_slot_at_the_next_chunk(
    tmp_path, path, body
):
    scorer, writer = ChunkScorer(), Spy()
    options = {"scorer": scorer, "generator": writer, "max_concurrent": 1, "max_waiting": 0}
    with rig.on_port(tmp_path, files, **options) as (url, app, _):
        workers = app.state.server.workers
        with connected(url, path, body):
            assert scorer.reading.wait(20)
            refused = httpx.post(f"{url}/v1/search", json={"query": QUESTION}, timeout=20)
            assert refused.status_code == 429
        assert scorer.through.wait(20), "the scorer went on for somebody who had left"
        rig.until(lambda: workers.taken == 0)
        assert scorer.begun == 1
        assert writer.answers == []


def test_rewording_scorer_and_generator_share_the_one_deadline_of_the_request():
    class Scorer:
        info = ScorerInfo(id="fake", scale="fake")
        deadlines = ()

        def score(self, query, texts, context=None):
            self.deadlines = (*self.deadlines, context.deadline)
            return Scores.full([0.0] * len(texts), "fake")

    scorer, spy = Scorer(), Spy()
    settings = Settings(generator="openai", openai_model="m", openai_base_url="http://127.0.0.1:1")
    line = Pipeline(settings, fake_index.FakeIndex(), scorer=scorer, generator=spy)
    deadline = Deadline.after(30.0)
    line.answer("gate?", limits=ScoreContext(deadline=deadline))
    assert spy.lines == spy.answers == [deadline]
    (share,) = scorer.deadlines
    reserve = line.reranker.policy.section("hybrid").reserve_ms / 1000.0
    assert share.expires_at == pytest.approx(deadline.expires_at - reserve)


def test_a_server_gives_each_request_a_deadline_of_its_own(tmp_path):
    spy = Spy()
    with rig.on_port(tmp_path, files, generator=spy, request_timeout_s=30) as (url, _, _opened):
        for _ in range(2):
            assert httpx.post(f"{url}/v1/chat/completions", json=CHAT).status_code == 200
    first, second = spy.answers
    now = time.monotonic()
    assert now < first.expires_at < second.expires_at <= now + 30


@pytest.mark.parametrize("over", ["deadline", "client"])
def test_nothing_is_begun_for_a_request_that_is_over(over):
    limits = ScoreContext(deadline=Deadline.after(-1.0 if over == "deadline" else 60.0))
    if over == "client":
        limits.cancelled.set()
    scorer, spy = FakeScorer(), Spy()
    line = Pipeline(Settings(), fake_index.FakeIndex(), scorer=scorer, generator=spy)
    for ask in (line.answer, line.search):
        with pytest.raises(RequestOverError):
            ask(QUESTION, limits=limits)
    assert (scorer.calls, spy.answers) == (0, [])


def test_the_llm_has_the_time_that_is_left_of_the_request_and_no_more():
    passage = Passage(candidate=Candidate(id="a", text="A gate.", rank=1), index=0, rank=1)
    with fake_openai.serving() as server:
        server.will(fake_openai.Reply(text="late", holds_after=0))  # for ever
        maker = OpenAIGenerator(model="m", base_url=server.url, timeout_s=60.0)

        def limits():
            return ScoreContext(deadline=Deadline.after(0.3))

        def context():
            return Context(sources=(SourceText(number=1, passage=passage),), limits=limits())

        for ask in (
            lambda: maker.answer("q?", context()),
            lambda: list(maker.stream("q?", context())),
            lambda: maker.line("task", "text", limits()),
        ):
            with pytest.raises(GeneratorError, match="no answer within"):
                ask()
