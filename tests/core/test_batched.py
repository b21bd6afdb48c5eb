"""Batched: one call for many callers, and none of them pays for another's trouble."""

import asyncio
import gc
import os
import pickle
import threading
import time
import weakref

import numpy as np
import pytest

from rankgate.deadline import Deadline
from rankgate.errors import BadScoresError, BreakerOpenError, ConfigError, InputError, ScorerError
from rankgate.scorers import ScoreContext, ScorerInfo, Scores
from rankgate.scorers.protocol import Job
from rankgate.stages import Cascade
from rankgate.testing import FailingScorer, FakeScorer
from rankgate.wrappers import Batched, Breaker

TEXTS = ["red cat", "dog", "", "red"]


class Gated(FakeScorer):
    """Lets a call through only when told; so the tests decide who shares a batch."""

    def __init__(self, scores=None):
        super().__init__(scores)
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.batches = []
        self.contexts = []

    def score_many(self, jobs, context=None):
        self.batches.append([(j.query, tuple(j.texts)) for j in jobs])
        self.contexts.append(context)
        self.entered.release()
        assert self.go.acquire(timeout=20)
        return super().score_many(jobs, context)


def ask(batched, query, texts=("red",), context=None):
    """Score in a thread; returns the thread and where its result or error will be."""
    out = []

    def work():
        try:
            out.append(batched.score(query, list(texts), context))
        except BaseException as exc:
            out.append(exc)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, out


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen within 10 s"
        time.sleep(0.002)


def queued(batched):
    return len(batched._worker._queue)


@pytest.fixture
def held():
    """A Batched whose worker is busy with `first` until `go` is released."""
    inner = Gated()
    batched = Batched(inner, max_wait_ms=0)
    thread, out = ask(batched, "first")
    assert inner.entered.acquire(timeout=10)
    yield inner, batched
    for _ in range(100):
        inner.go.release()
    thread.join(10)
    assert isinstance(out[0], Scores)
    batched.close()


def test_one_caller_gets_what_the_scorer_gives():
    inner = FakeScorer()
    with Batched(inner) as batched:
        scores = batched.score("red cat", TEXTS)
        np.testing.assert_array_equal(scores.values, FakeScorer().score("red cat", TEXTS).values)
        assert scores.stats.pairs == 4 and scores.complete
        assert batched.score("red cat", []).values.size == 0
        assert inner.calls == 1
        assert batched.info is inner.info


def test_who_waits_at_the_same_time_shares_one_call(held):
    inner, batched = held
    asked = [ask(batched, f"q{i} red", [f"q{i}", "red"]) for i in range(10)]
    wait_for(lambda: queued(batched) == 10)
    inner.go.release()
    inner.go.release()
    for thread, out in asked:
        thread.join(10)
        assert out[0].values.tolist() == [0.5, 0.5]
    assert [len(b) for b in inner.batches] == [1, 10]


def test_waiting_for_company_is_bounded():
    inner = FakeScorer()
    with Batched(inner, max_wait_ms=60) as batched:
        begun = time.monotonic()
        asked = [ask(batched, "red") for _ in range(5)]
        for thread, _ in asked:
            thread.join(10)
        assert 0.05 < time.monotonic() - begun < 5
        assert inner.calls == 1
        # A full batch does not wait.
        begun = time.monotonic()
        full = Batched(inner, max_wait_ms=60_000, max_pairs=2)
        assert full.score("red", ["red", "x"]).complete
        # Nor does one with little time left: at most a quarter of it.
        hurried = Batched(inner, max_wait_ms=60_000)
        context = ScoreContext(deadline=Deadline.after(0.4))
        assert hurried.score("red", ["red"], context).complete
        assert time.monotonic() - begun < 5
        full.close()
        hurried.close()


def test_batches_keep_to_their_limits_first_come_first_served(held):
    inner, batched = held
    batched._worker._max_pairs = 3
    asked = []
    for i, n in enumerate((2, 1, 2, 2)):
        asked.append(ask(batched, f"q{i}", ["red"] * n))
        wait_for(lambda: queued(batched) == len(asked))
    for _ in range(10):
        inner.go.release()
    for thread, _ in asked:
        thread.join(10)
    sizes = [[(q, len(t)) for q, t in b] for b in inner.batches[1:]]
    assert sizes == [[("q0", 2), ("q1", 1)], [("q2", 2), ("q3", 1)], [("q3", 1)]]


def test_tokens_limit_a_batch_and_a_single_large_pair_still_goes():
    inner = FakeScorer()
    texts = ["x" * 10, "x" * 500, "x" * 10, "x" * 10]
    with Batched(inner, max_tokens=30, max_wait_ms=0, count=len) as batched:
        scores = batched.score("12345", texts)
    assert scores.complete and scores.stats.pairs == 4
    assert [len(j.texts) for j in inner.jobs] == [1, 1, 2]


def test_a_huge_request_does_not_starve_the_others():
    inner = Gated(lambda _q, t: float(len(t)))
    with Batched(inner, max_pairs=4, max_wait_ms=0) as batched:
        texts = ["x" * i for i in range(40)]
        huge, out = ask(batched, "huge", texts)
        assert inner.entered.acquire(timeout=10)
        small = [ask(batched, f"small{i}") for i in range(3)]
        wait_for(lambda: queued(batched) == 4)
        for _ in range(3):
            inner.go.release()
        for thread, _ in small:
            thread.join(10)
        # Served in the second and third batch, while most of the huge one is still to come.
        assert not out and len(inner.batches) <= 4
        for _ in range(20):
            inner.go.release()
        huge.join(10)
    assert out[0].values.tolist() == [float(i) for i in range(40)]
    assert out[0].complete and out[0].stats.pairs == 40


def test_a_stage_gets_its_lists_whole():
    fast, accurate = FakeScorer(lambda _q, t: len(t)), FakeScorer(lambda _q, t: -len(t))
    with Batched(Cascade(fast, accurate, keep=3), max_pairs=4, max_wait_ms=0) as batched:
        scores = batched.score("q", ["x" * i for i in range(20)])
    assert scores.order[:4].tolist() == [17, 18, 19, 16]
    assert accurate.calls == 1 and not batched.pointwise


def test_a_stage_that_does_not_say_so_is_told_to():
    class Sly(FakeScorer):
        def _one(self, job, context):
            scores = super()._one(job, context)
            return Scores(
                values=scores.values,
                scale="s",
                scored=scores.scored,
                order=np.arange(scores.values.size),
            )

    with (
        Batched(Sly(), max_pairs=2, max_wait_ms=0) as batched,
        pytest.raises(BadScoresError, match="pointwise = False"),
    ):
        batched.score("q", ["a", "b", "c"])


class Picky(FakeScorer):
    """Fails the whole call if one of its jobs is bad."""

    def score_many(self, jobs, context=None):
        if any("bad" in j.query for j in jobs):
            self.calls += 1
            raise ScorerError("a bad one is among them")
        return super().score_many(jobs, context)


def test_an_error_reaches_only_the_caller_it_belongs_to():
    inner = Picky()
    with Batched(inner, max_wait_ms=100) as batched:
        asked = [ask(batched, q) for q in ("red", "bad red", "red", "bad", "red")]
        for thread, _ in asked:
            thread.join(10)
    results = [out[0] for _, out in asked]
    assert [isinstance(r, ScorerError) for r in results] == [False, True, False, True, False]
    assert all(results[i].values.tolist() == [1.0] for i in (0, 2, 4))
    assert inner.calls == 6  # once together, once each


def test_wrong_input_never_reaches_the_others():
    with Batched(FakeScorer()) as batched:
        with pytest.raises(InputError):
            batched.score("q", [None])
        with pytest.raises(InputError):
            batched.score_many([Job(query="q", texts=["x"]), Job(query=None, texts=["x"])])
        assert queued(batched) == 0
        assert batched.score("red", ["red"]).complete


def test_an_open_breaker_is_not_asked_again_for_each():
    inner = FailingScorer(ScorerError("down"))
    breaker = Breaker(inner, min_calls=1, window=1)
    with pytest.raises(ScorerError):
        breaker.score("q", ["x"])
    with Batched(breaker, max_wait_ms=50) as batched:
        asked = [ask(batched, "red") for _ in range(4)]
        for thread, out in asked:
            thread.join(10)
            assert isinstance(out[0], BreakerOpenError)
    assert inner.calls == 1


def test_a_scorer_that_stops_the_program_does_not_leave_the_callers_waiting():
    with Batched(FailingScorer(SystemExit(3), times=1), max_wait_ms=0) as batched:
        with pytest.raises(SystemExit):
            batched.score("q", ["x"])
        assert batched.score("red", ["red"]).values[0] == 1.0


def test_each_caller_stops_waiting_at_its_own_deadline(held):
    inner, batched = held
    patient = ask(batched, "patient")
    hurried = ask(batched, "hurried", ["a", "b"], ScoreContext(deadline=Deadline.after(0.2)))
    wait_for(lambda: queued(batched) == 2)
    inner.go.release()  # both now are in a batch that is not done
    hurried[0].join(5)
    assert hurried[1][0].scored.tolist() == [False, False]
    assert not patient[1]
    assert inner.contexts[1].deadline is None  # the patient one has all the time
    inner.go.release()
    patient[0].join(10)
    assert patient[1][0].complete


def test_the_batch_has_the_latest_deadline(held):
    inner, batched = held
    soon, late = Deadline.after(5), Deadline.after(50)
    asked = [ask(batched, "q", ["x"], ScoreContext(deadline=d)) for d in (soon, late, soon)]
    wait_for(lambda: queued(batched) == 3)
    for _ in range(3):
        inner.go.release()
    for thread, _ in asked:
        thread.join(10)
    assert inner.contexts[1].deadline is late


def test_without_time_nothing_is_asked():
    inner = FakeScorer()
    with Batched(inner) as batched:
        over = ScoreContext(deadline=Deadline.after(0))
        scores = batched.score("red", ["red", "x"], over)
        assert scores.scored.tolist() == [False, False] and scores.scale == "fake"
        batched.score("red", ["red"])
    assert [j.query for j in inner.jobs] == ["red"] and inner.calls == 1


def test_what_was_read_until_the_deadline_is_kept():
    inner = FakeScorer(lambda _q, _t: time.sleep(0.04) or 1.0)
    with Batched(inner, max_wait_ms=0) as batched:
        scores = batched.score("q", ["x"] * 50, ScoreContext(deadline=Deadline.after(0.3)))
    assert 0 < scores.scored.sum() < 50  # one batch that stopped in time
    with Batched(inner, max_pairs=2, max_wait_ms=0) as batched:
        scores = batched.score("q", ["x"] * 50, ScoreContext(deadline=Deadline.after(0.3)))
        assert 0 < scores.scored.sum() < 50  # several batches, the last ones not begun
        read = int(scores.scored.sum())
        assert scores.scored.tolist() == [True] * read + [False] * (50 - read)


async def test_event_loops_and_threads_share_batches_and_the_loop_stays_free(held):
    inner, batched = held
    tasks = [asyncio.create_task(batched.ascore(f"a{i}", [f"a{i}"])) for i in range(5)]
    thread, out = ask(batched, "thread", ["thread"])
    ticks = 0
    while queued(batched) < 6:
        await asyncio.sleep(0.001)
        ticks += 1
    assert ticks < 5000
    inner.go.release()
    inner.go.release()
    results = await asyncio.gather(*tasks)
    await asyncio.to_thread(thread.join, 10)
    assert [r.values.tolist() for r in [*results, out[0]]] == [[1.0]] * 6
    assert [len(b) for b in inner.batches] == [1, 6]


async def test_a_cancelled_caller_does_not_harm_its_batch_mates(held):
    inner, batched = held
    leaves = asyncio.create_task(batched.ascore("leaves", ["leaves"]))
    stays = asyncio.create_task(batched.ascore("stays", ["stays"]))
    waits = asyncio.create_task(batched.ascore("never asked", ["x"]))
    while queued(batched) < 3:
        await asyncio.sleep(0.001)
    waits.cancel()
    await asyncio.sleep(0.01)
    inner.go.release()
    while len(inner.batches) < 2:
        await asyncio.sleep(0.001)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert not inner.contexts[1].cancelled.is_set()
    inner.go.release()
    assert (await stays).values.tolist() == [1.0]
    assert [q for q, _ in inner.batches[1]] == ["leaves", "stays"]


async def test_a_batch_for_which_nobody_waits_is_stopped(held):
    inner, batched = held
    task = asyncio.create_task(batched.ascore("leaves", ["leaves"] * 10))
    while queued(batched) < 1:
        await asyncio.sleep(0.001)
    inner.go.release()
    while len(inner.batches) < 2:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.contexts[1].cancelled.is_set()


async def test_async_deadlines_and_errors():
    with Batched(FakeScorer(lambda _q, _t: time.sleep(0.05) or 1.0), max_wait_ms=0) as batched:
        context = ScoreContext(deadline=Deadline.after(0.12))
        scores = await batched.ascore("q", ["x"] * 40, context)
        assert scores.scored.sum() < 40
    with Batched(FailingScorer(ScorerError("down"))) as batched, pytest.raises(ScorerError):
        await batched.ascore_many([Job(query="q", texts=["x"]), Job(query="r", texts=["x"])])
    with Batched(FakeScorer(), count=len) as batched:
        many = await batched.ascore_many([Job(query="red", texts=TEXTS), Job(query="x", texts=[])])
        assert many[0].values.tolist() == [1.0, 0.0, 0.0, 1.0] and many[1].values.size == 0


def test_64_threads_get_what_is_theirs():
    inner = FakeScorer()
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(20):
            n = int(rng.integers(0, 30))
            texts = [f"w{int(i)} red" for i in rng.integers(0, 9, n)]
            query = f"w{int(rng.integers(0, 9))} red"
            if not np.array_equal(
                batched.score(query, texts).values, FakeScorer().score(query, texts).values
            ):
                wrong.append(query)

    with Batched(inner, max_pairs=64, max_wait_ms=1) as batched:
        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(64)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert wrong == []
    assert inner.calls < 64 * 20 / 2


def test_closing_refuses_what_waits_and_finishes_what_runs():
    inner = Gated()
    batched = Batched(inner, max_wait_ms=0)
    running = ask(batched, "running")
    assert inner.entered.acquire(timeout=10)
    waiting = ask(batched, "waiting")
    wait_for(lambda: queued(batched) == 1)
    closer = threading.Thread(target=batched.close)
    closer.start()
    waiting[0].join(10)
    assert isinstance(waiting[1][0], ScorerError)
    inner.go.release()
    for thread in (running[0], closer):
        thread.join(10)
    assert running[1][0].complete
    assert len(inner.batches) == 1
    with pytest.raises(ScorerError, match="closed"):
        batched.score("q", ["x"])
    batched.close()
    assert not batched._worker._thread.is_alive()


def test_no_thread_before_the_first_query_and_none_when_idle(monkeypatch):
    monkeypatch.setattr("rankgate.wrappers.worker._IDLE", 0.05)
    batched = Batched(FakeScorer())
    worker = batched._worker
    assert worker._thread is None
    for _ in range(2):
        assert batched.score("red", ["red"]).complete
        wait_for(lambda: worker._thread is None)
    gone = weakref.ref(batched)
    del batched
    wait_for(lambda: gc.collect() >= 0 and gone() is None)


def test_the_callers_list_may_change_while_it_waits(held):
    inner, batched = held
    texts = ["red", "x"]
    out = []
    thread = threading.Thread(target=lambda: out.append(batched.score("red", texts)), daemon=True)
    thread.start()
    wait_for(lambda: queued(batched) == 1)
    texts.clear()
    inner.go.release()
    inner.go.release()
    thread.join(10)
    assert out[0].values.tolist() == [1.0, 0.0]


class Plain:
    info = ScorerInfo(id="plain", scale="s")

    def score(self, query, texts, context=None):
        return FakeScorer().score(query, texts, context)


def test_a_pickled_copy_works_on_its_own():
    with Batched(Plain(), max_tokens=99, max_pairs=5, max_wait_ms=1.5) as batched:
        batched.score("red", ["red"])
        copy = pickle.loads(pickle.dumps(batched))
    with copy:
        assert (copy.max_tokens, copy.max_pairs, copy.max_wait_ms) == (99, 5, 1.5)
        assert copy.score("red", ["red"]).complete


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_worker_of_its_own():
    with Batched(Plain(), max_wait_ms=0) as batched:
        batched.score("red", ["red"])
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if batched.score("red", ["red"]).values[0] == 1.0:
                    os.write(write, b"ok")
                    code = 0
            finally:
                os._exit(code)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read() == b"ok"
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert batched.score("red", ["red"]).complete


@pytest.mark.parametrize(
    "bad", [{"max_tokens": 0}, {"max_pairs": 0}, {"max_wait_ms": -1}, {"max_wait_ms": float("inf")}]
)
def test_limits_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigError):
        Batched(FakeScorer(), **bad)
