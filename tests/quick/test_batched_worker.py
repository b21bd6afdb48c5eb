"""Batched's worker: its thread begins, ends, survives a fork, and serves many at once."""

import gc
import os
import pickle
import threading
import weakref

import batched_kit
import numpy as np
import pytest
from batched_kit import Gated, ask, workers
from waiting import until

from rankgate.errors import ScorerError
from rankgate.scorers import ScorerInfo
from rankgate.scorers.wrappers import Batched
from rankgate.testing import FakeScorer

held = batched_kit.held


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
    inner, before = Gated(), workers()
    batched = Batched(inner, max_wait_ms=0)
    running = ask(batched, "running")
    assert inner.entered.acquire(timeout=10)
    waiting = ask(batched, "waiting")
    until(lambda: batched.waiting == 1)
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
    assert workers() <= before


def test_no_thread_before_the_first_query_and_none_when_idle(monkeypatch):
    monkeypatch.setattr("rankgate.scorers.wrappers.worker.IDLE_S", 0.05)
    before = workers()
    batched = Batched(FakeScorer())
    assert workers() <= before
    for _ in range(2):
        assert batched.score("red", ["red"]).complete
        until(lambda: workers() <= before)
    gone = weakref.ref(batched)
    del batched
    until(lambda: gc.collect() >= 0 and gone() is None)


def test_the_callers_list_may_change_while_it_waits(held):
    inner, batched = held
    texts = ["red", "x"]
    out = []
    thread = threading.Thread(target=lambda: out.append(batched.score("red", texts)), daemon=True)
    thread.start()
    until(lambda: batched.waiting == 1)
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
