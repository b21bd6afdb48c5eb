"""Blocking work beside the event loop: 429, 504, clients that leave, a loop that stays awake."""

import asyncio
import os
import threading

import httpx
import ingest_files as files
import pytest
import server_rig as rig
from waiting import auntil, until

from rag_app.server.errors import ApiError
from rag_app.server.routes.sse import EventStream
from rag_app.server.workers import Workers
from rankgate.testing import FakeScorer, SlowScorer

SEARCH = {"query": "What does the gate decide?"}
CHAT = {"messages": [{"role": "user", "content": "What does the gate decide?"}]}


class Client:
    """A request whose client stays until `leave`."""

    def __init__(self):
        self.leave = asyncio.Event()

    async def receive(self):
        await self.leave.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
async def workers():
    made = Workers(at_once=1, waiting=1, timeout_s=20)
    yield made
    await made.close()


async def settled(workers, taken):
    await auntil(lambda: workers.taken == taken)


async def test_results_and_errors_come_back(workers):
    assert await workers.run(lambda _: 7, Client()) == 7
    with pytest.raises(ValueError, match="mine"):
        await workers.run(lambda _: int("mine"), Client())
    with pytest.raises(TimeoutError):  # the work's own is not taken for ours
        await workers.run(lambda _: (_ for _ in ()).throw(TimeoutError("its own")), Client())
    assert [i async for i in workers.iterate(lambda _: iter("abc"), Client())] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="begin"):
        [i async for i in workers.iterate(lambda _: int("begin"), Client())]
    await settled(workers, 0)


async def test_more_than_may_wait_are_refused(workers):
    free = threading.Event()
    running = asyncio.ensure_future(workers.run(lambda _: free.wait(20), Client()))
    waiting = asyncio.ensure_future(workers.run(lambda _: free.wait(20), Client()))
    await settled(workers, 2)
    for refused in (
        workers.run(lambda _: 1, Client()),
        anext(workers.iterate(lambda _: iter("a"), Client())),
    ):
        with pytest.raises(ApiError) as caught:
            await refused
        assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
    free.set()
    assert await running and await waiting
    await settled(workers, 0)
    assert await workers.run(lambda _: 2, Client()) == 2


async def test_a_late_answer_keeps_its_slot_until_its_thread_is_through():
    workers = Workers(at_once=1, waiting=1, timeout_s=0.05)
    free, begun, gone = threading.Event(), [], []

    def work(left):
        begun.append(1)
        free.wait(20)
        gone.append(left.cancelled.is_set())

    first = asyncio.ensure_future(workers.run(work, Client()))
    second = asyncio.ensure_future(workers.run(work, Client()))
    for late in (first, second):
        with pytest.raises(ApiError) as caught:
            await late
        assert (caught.value.status, caught.value.code) == (504, "timeout")
    # The one that waited never begins; the one that runs is still there.
    await settled(workers, 1)
    free.set()
    await settled(workers, 0)
    assert begun == [1] and gone == [True]
    await workers.close()


async def test_a_client_that_leaves_frees_what_it_waited_for(workers):
    free, begun = threading.Event(), []
    running = asyncio.ensure_future(workers.run(lambda _: free.wait(20), Client()))
    client = Client()
    waiting = asyncio.ensure_future(workers.run(lambda _: begun.append(1), client))
    await settled(workers, 2)
    client.leave.set()
    with pytest.raises(ApiError) as caught:
        await waiting
    assert caught.value.status == 499
    await settled(workers, 1)
    free.set()
    assert await running
    assert begun == []


async def test_a_stream_waits_for_its_reader_and_stops_when_the_reader_leaves(workers):
    made, closed = [], threading.Event()

    def items(_):
        try:
            for n in range(10_000):
                made.append(n)
                yield n
        finally:
            closed.set()

    stream = workers.iterate(items, Client())
    for n in range(500):
        assert await anext(stream) == n
        assert len(made) < n + 50, "the thread ran ahead of its reader"
    await stream.aclose()
    await settled(workers, 0)
    assert closed.is_set() and len(made) < 550


async def test_a_connection_that_breaks_closes_the_events_at_once():
    closed = []

    async def events():
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(1)

    async def send(message):
        if message.get("body"):
            raise OSError("the connection is gone")

    held = events()
    with pytest.raises(OSError, match="gone"):
        await EventStream(held).stream_response(send)
    assert closed == [1], "it is left to the garbage collector"


async def test_closing_ends_a_stream_that_nobody_reads():
    workers = Workers(at_once=1, waiting=0, timeout_s=60)
    stream = workers.iterate(lambda _: iter(range(10_000)), Client())
    assert await anext(stream) == 0
    async with asyncio.timeout(20):
        await workers.close()
    with pytest.raises(ApiError) as caught:
        await workers.run(lambda _: 1, Client())
    assert caught.value.status == 503
    await stream.aclose()


async def test_the_server_says_429_and_recovers(tmp_path):
    free = threading.Event()
    scorer = SlowScorer(0.001, sleep=lambda _: free.wait(20))
    async with rig.in_process(
        tmp_path, files, scorer=scorer, max_concurrent=1, max_waiting=1
    ) as client:
        workers = client.app.state.server.workers
        asked = [asyncio.ensure_future(client.post("/v1/search", json=SEARCH)) for _ in range(2)]
        await settled(workers, 2)
        for path, body in (
            ("/v1/search", SEARCH),
            ("/v1/chat/completions", CHAT),
            ("/v1/chat/completions", {**CHAT, "stream": True}),
            ("/v2/rerank", {"query": "q", "documents": ["d"]}),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 429, path
            assert answer.headers["Retry-After"] == "1"
            assert answer.json()["error"]["type"] == "rate_limit_error"
        # What needs no slot is answered all the same.
        assert (await client.get("/v1/documents")).status_code == 200
        assert "rankgate_questions_in_flight 2.0" in (await client.get("/metrics")).text
        free.set()
        assert [r.status_code for r in await asyncio.gather(*asked)] == [200, 200]
        assert (await client.post("/v1/search", json=SEARCH)).status_code == 200


async def test_the_server_says_504(tmp_path):
    free = threading.Event()
    scorer = SlowScorer(0.001, sleep=lambda _: free.wait(20))
    async with rig.in_process(tmp_path, files, scorer=scorer, request_timeout_s=0.5) as client:
        for path, body in (
            ("/v1/search", SEARCH),
            ("/v1/chat/completions", CHAT),
            ("/v1/chat/completions", {**CHAT, "stream": True}),
        ):
            answer = await client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        free.set()
        await settled(client.app.state.server.workers, 0)


async def test_the_event_loop_ticks_while_scorers_are_busy(tmp_path):
    """Counted, not timed: while the scorer waits for the ticks, the loop has to make them."""
    ticks, enough = [0], threading.Event()

    def busy(_):
        # Returns only once the loop has gone round: frozen, it would never.
        assert enough.wait(20), "the event loop stood still"

    async def tick():
        while ticks[0] < 200:
            ticks[0] += 1
            await asyncio.sleep(0)
        enough.set()

    async with rig.in_process(
        tmp_path, files, scorer=SlowScorer(1, sleep=busy), max_concurrent=4
    ) as client:
        asked = [asyncio.ensure_future(client.post("/v1/search", json=SEARCH)) for _ in range(4)]
        await settled(client.app.state.server.workers, 4)
        assert (await client.get("/healthz")).status_code == 200
        await tick()
        assert [r.status_code for r in await asyncio.gather(*asked)] == [200] * 4


async def test_the_event_loop_does_not_wait_for_the_manifest(tmp_path):
    """A writer holds the manifest's lock for its transaction; only questions may wait for it."""
    async with rig.in_process(tmp_path, files) as client:
        manifest = client.collections.store("default").manifest
        held, let = threading.Event(), threading.Event()

        def no_documents():
            """Asked for within the transaction."""
            held.set()
            let.wait(20)
            yield from ()

        thread = threading.Thread(target=lambda: manifest.remove("default", no_documents()))
        thread.start()
        held.wait(20)
        part = {"files": ("new.txt", b"something new")}
        asked = [
            asyncio.ensure_future(request)
            for request in (
                client.post("/v1/chat/completions", json=CHAT),
                client.get("/v1/models"),
                client.get("/v1/collections"),
                client.get("/v1/documents"),
                client.post("/v1/documents", files=part, data={"collection": "default"}),
                client.post("/v1/conversations", json={}),
            )
        ]
        async with asyncio.timeout(10):
            for _ in range(200):  # rounds enough for every request to have come to the lock
                assert (await client.get("/healthz")).status_code == 200
        let.set()
        done = await asyncio.gather(*asked)
        assert [r.status_code for r in done] == [200, 200, 200, 200, 202, 201]
        thread.join(20)


class SlowToName(FakeScorer):
    """Whoever asks for its name, once it is armed, waits until it is let go."""

    def __init__(self):
        super().__init__()
        self.armed, self.asked, self.let = (threading.Event() for _ in range(3))

    @property
    def info(self):
        if self.armed.is_set():
            self.asked.set()
            assert self.let.wait(60)
        return super().info


async def test_an_index_that_is_being_opened_holds_up_nobody_else(tmp_path):
    scorer = SlowToName()
    async with rig.in_process(tmp_path, files, scorer=scorer) as client:
        secret = rig.bearer(rig.key(client.settings))
        opened, entered = client.collections.store, []

        def counted(*args, **kwargs):
            entered.append(1)
            return opened(*args, **kwargs)

        client.collections.store = counted
        workers = min(32, os.cpu_count() + 4)
        scorer.armed.set()
        opening = threading.Thread(target=client.collections.pipeline, args=["default"])
        opening.start()
        await auntil(scorer.asked.is_set)
        lists = [
            asyncio.ensure_future(client.get("/v1/documents", headers=secret)) for _ in range(50)
        ]
        await auntil(lambda: len(entered) >= workers)  # by now each of the shared threads waits
        async with asyncio.timeout(30):
            answer = await client.get("/v1/models", headers=secret)
        assert answer.status_code == 200
        scorer.let.set()
        await asyncio.to_thread(opening.join, 60)
        assert {r.status_code for r in await asyncio.gather(*lists)} == {200}


def test_a_client_that_breaks_off_its_stream_frees_the_slot(tmp_path):
    writer = rig.StepGenerator([f"{n} " for n in range(1000)])
    options = {"generator": writer, "max_concurrent": 1, "max_waiting": 0}
    with rig.on_port(tmp_path, files, **options) as (url, app, _):
        workers = app.state.server.workers
        with httpx.Client(base_url=url, timeout=20) as client:
            body = {**CHAT, "stream": True}
            writer.let(3)
            with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                assert answer.status_code == 200
                lines = answer.iter_lines()
                next(lines)
                assert workers.taken == 1
                assert client.post("/v1/search", json=SEARCH).status_code == 429
            writer.let(2)  # the thread is waiting for it, and finds that nobody listens
            until(lambda: workers.taken == 0)
            until(writer.closed.is_set)
            assert writer.written <= 5
            assert client.post("/v1/search", json=SEARCH).status_code == 200


def test_a_client_that_hangs_up_on_a_whole_answer_ends_the_writing(tmp_path):
    writer = rig.StepGenerator([f"{n} " for n in range(1000)])
    with rig.on_port(tmp_path, files, generator=writer) as (url, app, _):
        workers = app.state.server.workers
        with httpx.Client(base_url=url, timeout=httpx.Timeout(20, read=0.5)) as client:
            writer.let(1)
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/chat/completions", json=CHAT)
            writer.let(3)
            until(lambda: workers.taken == 0)
            assert writer.written < 10


def test_an_upload_goes_on_while_questions_are_answered(tmp_path):
    with rig.on_port(tmp_path, files) as (url, _, opened):
        busy, let = threading.Event(), threading.Event()

        def long_write(_store):
            busy.set()
            let.wait(20)

        writing = opened.write("default", long_write)
        assert busy.wait(20)
        with httpx.Client(base_url=url, timeout=20) as client:
            for _ in range(3):
                assert client.post("/v1/search", json=SEARCH).status_code == 200
            job = client.post("/v1/documents", files={"files": ("n.txt", b"Gulls cry.")}).json()
            assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"
            assert (
                client.post("/v1/search", json={"query": "gulls"}).json()["results"][0]["title"]
                != "n"
            )
            let.set()
            writing.result(20)
            until(lambda: client.get(f"/v1/jobs/{job['id']}").json()["state"] == "done")
            first = client.post("/v1/search", json={"query": "gulls cry"}).json()["results"][0]
            assert "Gulls cry." in first["text"]
