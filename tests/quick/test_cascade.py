"""Cascade: two stages, one order, scales never mixed, nothing lost when a stage fails."""

import logging

import numpy as np
import pytest

from rankgate import Policy, Reranker, Status
from rankgate.deadline import Deadline
from rankgate.errors import ConfigError, InputError, ScorerError
from rankgate.scorers import Cascade, ScoreContext, ScorerInfo, Scores
from rankgate.scorers.protocol import Job, check_scores
from rankgate.scorers.wrappers import Breaker
from rankgate.testing import FailingScorer, FakeScorer, candidates_of

TEXTS = ["t0", "t1", "t2", "t3", "t4"]
FAST = {"t0": 1.0, "t1": 5.0, "t2": 3.0, "t3": 4.0, "t4": 3.0}
ACCURATE = {"t0": 100.0, "t1": -7.0, "t2": -2.0, "t3": -5.0, "t4": -2.0}


def fast(scores=None):
    return FakeScorer(FAST if scores is None else scores, info=ScorerInfo(id="fast", scale="f"))


def accurate(scores=None):
    return FakeScorer(
        ACCURATE if scores is None else scores,
        info=ScorerInfo(id="accurate", scale="a", max_length=512),
    )


class Reads(FakeScorer):
    """Reads the first `n` texts only, as if time ran out."""

    def __init__(self, n, scores, info):
        super().__init__(scores, info=info)
        self.n = n

    def _one(self, job, context):
        full = super()._one(job, context)
        scored = np.arange(len(job.texts)) < self.n
        return Scores(values=full.values, scale=full.scale, scored=scored, stats=full.stats)


def test_the_accurate_scorer_reads_the_best_of_the_fast_one():
    second = accurate()
    scores = Cascade(fast(), second, keep=3).score("q", TEXTS)
    assert list(second.jobs[0].texts) == ["t1", "t3", "t2"]
    assert scores.scored.tolist() == [False, True, True, True, False]
    assert scores.values[[1, 2, 3]].tolist() == [-7.0, -2.0, -5.0]
    assert scores.order.tolist() == [2, 3, 1, 4, 0]
    assert (scores.scale, scores.note) == ("a", "")
    assert scores.stats.pairs == 5 and scores.stats.calls == 2
    check_scores(scores, 5)


def test_equal_values_go_by_the_first_stage():
    everywhere = Cascade(fast({}), accurate({}), keep=2).score("q", TEXTS)
    assert everywhere.order.tolist() == [0, 1, 2, 3, 4]
    scores = Cascade(fast({"t3": 2.0, "t1": 1.0}), accurate({}), keep=2).score("q", TEXTS)
    assert scores.order.tolist() == [1, 3, 0, 2, 4]


def test_with_everything_kept_values_alone_decide():
    scores = Cascade(fast(), accurate(), keep=10).score("q", TEXTS)
    assert scores.complete and scores.order is None and scores.note == ""
    assert scores.values.tolist() == [ACCURATE[t] for t in TEXTS]


def test_a_failing_accurate_stage_gives_the_fast_order_on_the_fast_scale(caplog):
    broken = FailingScorer(RuntimeError("secret passage text"))
    with caplog.at_level(logging.WARNING, logger="rankgate"):
        scores = Cascade(fast(), broken, keep=2).score("q", TEXTS)
    assert scores.note == "accurate_failed"
    assert scores.scale == "f" and scores.complete
    assert scores.values.tolist() == [FAST[t] for t in TEXTS]
    assert "RuntimeError" in caplog.text and "secret" not in caplog.text


def test_an_accurate_stage_without_time_gives_the_fast_order():
    slow = Reads(0, ACCURATE, ScorerInfo(id="accurate", scale="a"))
    scores = Cascade(fast(), slow, keep=2).score("q", TEXTS)
    assert (scores.note, scores.scale) == ("accurate_unread", "f")
    assert scores.complete


def test_an_accurate_stage_is_not_begun_when_the_time_is_over():
    now = [0.0]

    def slowly(_query, text):
        now[0] += 1.0
        return FAST[text]

    second = accurate()
    context = ScoreContext(deadline=Deadline(expires_at=5.0, clock=lambda: now[0]))
    scores = Cascade(fast(slowly), second, keep=2).score("q", TEXTS, context)
    assert second.calls == 0
    assert (scores.note, scores.scale, scores.complete) == ("accurate_unread", "f", True)


def test_a_partial_accurate_stage_puts_what_it_read_first_then_the_fast_order():
    partial = Reads(2, ACCURATE, ScorerInfo(id="accurate", scale="a"))
    scores = Cascade(fast(), partial, keep=4).score("q", TEXTS)
    assert scores.note == "accurate_partial"
    # Fast: t1 t3 t2 t4 | t0. Of the kept four, t1 and t3 were read: t3 is better.
    assert scores.order.tolist() == [3, 1, 2, 4, 0]
    assert scores.scored.tolist() == [False, True, False, True, False]


def test_a_failing_fast_stage_leaves_the_first_stages_best_to_the_accurate_one():
    second = accurate()
    scores = Cascade(FailingScorer(ScorerError("down")), second, keep=3).score("q", TEXTS)
    assert list(second.jobs[0].texts) == ["t0", "t1", "t2"]
    assert (scores.note, scores.scale) == ("fast_failed", "a")
    assert scores.order.tolist() == [0, 2, 1, 3, 4]
    everything = Cascade(FailingScorer(ScorerError("down")), second, keep=5).score("q", TEXTS)
    assert everything.note == "" and everything.complete


def test_a_partial_fast_stage_keeps_only_what_it_read():
    partial = Reads(3, FAST, ScorerInfo(id="fast", scale="f"))
    scores = Cascade(partial, accurate(), keep=2).score("q", TEXTS)
    assert scores.note == "fast_partial"
    assert scores.order.tolist() == [2, 1, 0, 3, 4]


def test_both_failing_raises_the_accurate_error_from_the_fast_one():
    first, second = ScorerError("fast"), ScorerError("accurate")
    with pytest.raises(ScorerError, match="accurate") as caught:
        Cascade(FailingScorer(first), FailingScorer(second), keep=3).score("q", TEXTS)
    assert caught.value.__cause__ is first


@pytest.mark.parametrize("where", ["fast", "accurate"])
def test_the_callers_mistake_is_not_a_failure_of_a_stage(where):
    wrong = FailingScorer(InputError("no string"))
    stages = (wrong, accurate()) if where == "fast" else (fast(), wrong)
    with pytest.raises(InputError):
        Cascade(*stages, keep=2).score("q", TEXTS)


def test_nothing_and_one():
    cascade = Cascade(fast(), accurate(), keep=2)
    empty = cascade.score("q", [])
    assert empty.values.size == 0 and empty.note == ""
    assert cascade.score("q", ["t1"]).values.tolist() == [-7.0]


async def test_async_and_many_equal_one_by_one():
    cascade = Cascade(fast(), accurate(), keep=2)
    jobs = [
        Job(query="q", texts=TEXTS),
        Job(query="q", texts=TEXTS[::-1]),
        Job(query="q", texts=[]),
    ]
    many, native = cascade.score_many(jobs), await cascade.ascore_many(jobs)
    for job, a, b in zip(jobs, many, native, strict=True):
        one = cascade.score(job.query, job.texts)
        for other in (a, b):
            np.testing.assert_array_equal(one.values, other.values)
            np.testing.assert_array_equal(one.scored, other.scored)
            assert (one.order is None) == (other.order is None)
            if one.order is not None:
                np.testing.assert_array_equal(one.order, other.order)


def test_three_stages():
    last = FakeScorer({"t1": 1.0, "t2": 2.0}, info=ScorerInfo(id="last", scale="l"))
    cascade = Cascade(Cascade(fast(), accurate(), keep=3), last, keep=2)
    scores = cascade.score("q", TEXTS)
    # First cascade: t2 t3 t1 | t4 t0; the last stage reads t2 and t3.
    assert list(last.jobs[0].texts) == ["t2", "t3"]
    assert scores.order.tolist() == [2, 3, 1, 4, 0]
    assert scores.scale == "l"
    right = Cascade(fast(), Cascade(accurate(), last, keep=1), keep=3).score("q", TEXTS)
    assert right.order.tolist() == [2, 3, 1, 4, 0]
    assert right.scored.sum() == 1


def test_a_breaker_inside_closes_the_cascade_only_if_nothing_can_order():
    open_breaker = Breaker(FailingScorer(ScorerError("down")), min_calls=1, window=1)
    with pytest.raises(ScorerError):
        open_breaker.score("q", TEXTS)
    assert open_breaker.is_open
    assert not Cascade(fast(), open_breaker, keep=2).is_open
    assert Cascade(open_breaker, open_breaker, keep=2).is_open
    assert Cascade(fast(), open_breaker, keep=2).score("q", TEXTS).note == "accurate_failed"


@pytest.mark.parametrize("keep", [0, -1, True, 2.0])
def test_keep_that_cannot_be_is_refused(keep):
    with pytest.raises(ConfigError, match="keep"):
        Cascade(fast(), accurate(), keep=keep)


def test_info_names_both_and_carries_the_accurate_scale():
    info = Cascade(fast(), accurate(), keep=10).info
    assert info.id == "cascade(fast->accurate,keep=10)"
    assert (info.scale, info.max_length) == ("a", 512)


def test_the_reranker_shows_the_cascades_order_and_its_fall_back():
    policy = Policy.unfitted(top_n=5)
    good = Reranker(Cascade(fast(), accurate(), keep=3), policy=policy)
    outcome = good.rerank("what", candidates_of(TEXTS))
    assert [p.candidate.text for p in outcome.kept] == ["t2", "t3", "t1", "t4", "t0"]
    assert outcome.status is Status.RERANKED
    assert [p.raw_score for p in outcome.kept] == [-2.0, -5.0, -7.0, None, None]
    bad = Reranker(Cascade(fast(), FailingScorer(ScorerError("x")), keep=3), policy=policy)
    outcome = bad.rerank("what", candidates_of(TEXTS))
    assert (outcome.status, outcome.reason) == (Status.DEGRADED, "accurate_failed")
    assert [p.candidate.text for p in outcome.kept] == ["t1", "t3", "t2", "t4", "t0"]
