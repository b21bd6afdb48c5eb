"""A scorer that is let through when the test says so, and callers that wait in threads."""

import contextlib
import threading

import pytest

from rankgate.scorers import Scores
from rankgate.scorers.wrappers import Batched
from rankgate.testing import FakeScorer

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


@contextlib.contextmanager
def holding(**limits):
    """A Batched whose worker is busy with `first` until `go` is released."""
    inner = Gated()
    batched = Batched(inner, max_wait_ms=0, **limits)
    thread, out = ask(batched, "first")
    assert inner.entered.acquire(timeout=10)
    yield inner, batched
    for _ in range(100):
        inner.go.release()
    thread.join(10)
    assert isinstance(out[0], Scores)
    batched.close()


@pytest.fixture
def held():
    with holding() as made:
        yield made


def workers():
    """Threads of batches that are running, in this process."""
    return {t for t in threading.enumerate() if t.name == "rankgate-batched"}
