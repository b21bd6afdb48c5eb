"""Four candidates, scorers, and policies for the reranker's tests."""

import threading

from rankgate import Gate, Policy, RelevanceModel, Section
from rankgate.decide.gate import Condition, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.testing import FakeScorer, SlowScorer, candidates_of

TABLE = {"a": 1.0, "b": 3.0, "c": 2.0, "d": -4.0}
PLATT = RelevanceModel(model=Logistic(features=(Feature(name="raw", weight=1.0),)), scale="fake")
BY_DENSE = RelevanceModel(
    model=Logistic(intercept=-5.0, features=(Feature(name="dense", weight=10.0),))
)
SKIP_ALL = Gate(
    rules=(Rule(name="always", conditions=(Condition(signal="candidates", op=">=", value=0),)),)
)


def policy(**section):
    return Policy(
        name="test",
        sections=dict.fromkeys(("order", "dense", "hybrid", "bm25"), Section(**section)),
    )


def abcd(**scores):
    return candidates_of(list("abcd"), **scores)


def texts(passages):
    return [p.candidate.text for p in passages]


def everything_once(outcome, candidates):
    assert sorted(p.index for p in outcome.passages) == list(range(len(candidates)))
    assert [p.rank for p in outcome.passages] == list(range(1, len(candidates) + 1))
    assert all(p.candidate is candidates[p.index] for p in outcome.passages)


def slow(clock, seconds):
    """Takes so long for each text, by a clock that the test reads too."""
    return SlowScorer(seconds, sleep=clock.advance)


class HeldScorer(FakeScorer):
    """Stops at each text until it is let go; says when it reads and when it has ended.

    Attributes:
        reading: it has come to the first text.
        go: set by the test.
        ended: whoever ran it has it back.
        read: texts that were read.
    """

    def __init__(self):
        super().__init__(self._held)
        self.reading, self.go, self.ended = (threading.Event() for _ in range(3))
        self.read = []

    def score_many(self, jobs, context=None):
        try:
            return super().score_many(jobs, context)
        finally:
            self.ended.set()

    def _held(self, _query, text):
        self.reading.set()
        assert self.go.wait(20), "nobody let the scorer go on"
        self.read.append(text)
        return 0.0
