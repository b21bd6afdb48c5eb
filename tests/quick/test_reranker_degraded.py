"""The reranker without scores: failures, nonsense and deadlines give a defined order."""

import asyncio
import threading

import numpy as np
import pytest
from reranker_kit import PLATT, TABLE, abcd, everything_once, policy, slow, texts
from waiting import Clock

from rankgate import Deadline, Floor, Path, RelevanceModel, Reranker, ScorerInfo, Scores, Status
from rankgate.errors import BreakerOpenError, ScorerTimeoutError
from rankgate.testing import FailingScorer, FakeScorer, candidates_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("boom"), "scorer_error"),
        (ScorerTimeoutError("late"), "timeout"),
        (BreakerOpenError("open"), "breaker_open"),
    ],
)
def test_a_failing_scorer_gives_first_stage_order_and_says_so(error, reason):
    given = abcd()
    out = Reranker(FailingScorer(error), policy=policy()).rerank("q", given, top_n=2)
    assert (out.status, out.path, out.reason) == (Status.DEGRADED, Path.DEGRADED, reason)
    assert str(error) in out.detail
    assert texts(out.kept) == ["a", "b"]
    everything_once(out, given)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [1.0, 2.0, 3.0, 4.0],
        Scores.full([1.0, 2.0], "fake"),
        Scores.full([1.0, 2.0, float("nan"), 4.0], "fake"),
        Scores.full([1.0, 2.0, float("inf"), 4.0], "fake"),
    ],
)
def test_nonsense_from_a_scorer_degrades(answer):
    class Nonsense:
        info = ScorerInfo(id="fake", scale="fake")

        def score(self, query, texts, context=None):
            return answer

    out = Reranker(Nonsense(), policy=policy()).rerank("q", abcd())
    assert (out.status, out.reason) == (Status.DEGRADED, "bad_scores")
    assert texts(out.passages) == ["a", "b", "c", "d"]


def test_scores_of_another_scale_never_meet_the_model():
    class Switched:
        info = ScorerInfo(id="fake", scale="fake")

        def score(self, query, texts, context=None):
            return Scores.full([TABLE[t] for t in texts], "other")

    out = Reranker(
        Switched(), policy=policy(reranked=PLATT, floor=Floor(refuse_below=0.9999))
    ).rerank("q", abcd())
    assert texts(out.passages) == ["b", "c", "a", "d"]
    assert all(p.relevance_score is None for p in out.passages)
    assert any("scores are other" in n for n in out.notes)


def test_a_deadline_in_the_middle_gives_a_defined_order():
    given = candidates_of(["x", "q y", "z", "q", "q w"])
    clock = Clock()
    out = Reranker(slow(clock, 10), policy=policy()).rerank(
        "q", given, deadline=Deadline.after(25, clock=clock)
    )
    read = [p for p in out.passages if p.raw_score is not None]
    assert (out.status, out.reason) == (Status.DEGRADED, "deadline_partial")
    assert len(read) == 3
    assert [p.raw_score for p in read] == sorted((p.raw_score for p in read), reverse=True)
    rest = out.passages[len(read) :]
    assert [p.candidate.rank for p in rest] == sorted(p.candidate.rank for p in rest)
    everything_once(out, given)


def test_no_time_at_all_is_degraded_not_skipped():
    scorer = FakeScorer(TABLE)
    out = Reranker(scorer, policy=policy()).rerank("q", abcd(), deadline=Deadline.after(0.0))
    assert (out.status, out.reason, scorer.calls) == (Status.DEGRADED, "no_time", 0)


def test_the_reserve_is_kept_back_from_the_scorer():
    seen = []

    class Watching(FakeScorer):
        def score_many(self, jobs, context=None):
            seen.append(context.remaining())
            return super().score_many(jobs, context)

    Reranker(Watching(TABLE), policy=policy(deadline_ms=1000.0, reserve_ms=400.0)).rerank(
        "q", abcd()
    )
    assert 0.3 < seen[0] <= 0.6


async def test_a_stray_stop_iteration_degrades_instead_of_hanging():
    reranker = Reranker(FailingScorer(StopIteration()), policy=policy())
    out = await asyncio.wait_for(reranker.arerank("q", abcd()), 5)
    assert (out.status, out.reason) == (Status.DEGRADED, "scorer_error")


def test_a_failed_cascade_never_puts_the_fast_logits_under_the_accurate_floor():
    from rankgate.scorers import Cascade

    fast = FakeScorer(TABLE, info=ScorerInfo(id="small", scale="logit"))

    class Big(FailingScorer):
        info = ScorerInfo(id="big", scale="logit")

    fitted = RelevanceModel(model=PLATT.model, scale="logit")
    out = Reranker(
        Cascade(fast, Big(RuntimeError("down")), keep=2),
        policy=policy(reranked=fitted, floor=Floor(refuse_below=0.9999)),
    ).rerank("q", abcd())
    assert (out.status, out.reason) == (Status.DEGRADED, "accurate_failed")
    assert texts(out.passages) == ["b", "c", "a", "d"]
    assert all(p.relevance_score is None for p in out.passages)


def test_a_scorer_stops_at_its_next_chunk_once_the_caller_has_gone():
    gone = threading.Event()
    begun = []

    class Chunked:
        info = ScorerInfo(id="fake", scale="fake")

        def score(self, query, texts, context=None):
            values, scored = np.zeros(len(texts), np.float32), np.zeros(len(texts), np.bool_)
            for i, text in enumerate(texts):
                if context.should_stop:
                    break
                begun.append(text)
                values[i], scored[i] = TABLE[text], True
                gone.set()  # the caller leaves while the first chunk is being read
            return Scores(values=values, scale="fake", scored=scored)

    given = abcd()
    out = Reranker(Chunked(), policy=policy()).rerank("q", given, cancelled=gone)
    assert begun == ["a"]
    everything_once(out, given)
