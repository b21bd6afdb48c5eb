"""The reranker's floor: what it drops, what it refuses, and what it cannot judge."""

import numpy as np
import pytest
from reranker_kit import (
    BY_DENSE,
    PLATT,
    SKIP_ALL,
    TABLE,
    abcd,
    everything_once,
    policy,
    slow,
    texts,
)
from waiting import Clock

from rankgate import Deadline, Dropped, Floor, Path, RelevanceModel, Reranker, Status
from rankgate.decide.logistic import Feature, Logistic
from rankgate.testing import FailingScorer, FakeScorer


def test_one_logit_orders_and_its_probability_floors():
    model = RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=-1.0),)), scale="fake"
    )
    out = Reranker(
        FakeScorer(TABLE), policy=policy(reranked=model, floor=Floor(drop_below=0.2))
    ).rerank("q", abcd())
    assert texts(out.passages) == ["d", "a", "c", "b"]
    probabilities = [p.relevance_score for p in out.passages]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] == pytest.approx(1 / (1 + np.exp(-4.0)))
    assert texts(out.kept) == ["d", "a"], "1/(1+e) is .27, 1/(1+e^2) is .12"
    assert {p.dropped for p in out.dropped} == {Dropped.BELOW_FLOOR}


def test_refused_when_even_the_best_is_below():
    given = abcd()
    out = Reranker(
        FakeScorer(dict.fromkeys("abcd", -3.0)),
        policy=policy(reranked=PLATT, floor=Floor(refuse_below=0.1)),
    ).rerank("q", given)
    assert (out.status, out.path, out.reason) == (Status.REFUSED, Path.RERANKED, "below_floor")
    assert out.kept == () and {p.dropped for p in out.dropped} == {Dropped.REFUSED}
    assert out.best_probability == pytest.approx(1 / (1 + np.exp(3.0)))
    assert "0.047" in out.detail and "0.100" in out.detail
    everything_once(out, given)


def test_a_floor_of_zero_lets_all_pass():
    out = Reranker(
        FakeScorer(TABLE),
        policy=policy(reranked=PLATT, floor=Floor(refuse_below=0.0, drop_below=0.0)),
    ).rerank("q", abcd())
    assert len(out.kept) == 4 and out.status is Status.RERANKED


def test_when_every_passage_is_dropped_the_query_is_refused():
    out = Reranker(
        FakeScorer(TABLE), policy=policy(reranked=PLATT, floor=Floor(drop_below=0.99))
    ).rerank("q", abcd())
    assert (out.status, out.reason) == (Status.REFUSED, "all_below_floor")


def test_the_gate_may_not_skip_what_the_floor_cannot_judge():
    reranker = Reranker(
        FakeScorer(TABLE),
        policy=policy(gate=SKIP_ALL, reranked=PLATT, floor=Floor(refuse_below=0.1)),
    )
    out = reranker.rerank("q", abcd())
    assert (out.status, out.reason) == (Status.RERANKED, "floor_needs_score")


def test_degraded_with_a_floor_but_no_model_keeps_the_results_and_notes_it():
    reranker = Reranker(
        FailingScorer(RuntimeError("x")),
        policy=policy(reranked=PLATT, floor=Floor(refuse_below=0.9)),
    )
    out = reranker.rerank("q", abcd())
    assert out.status is Status.DEGRADED and len(out.kept) == 4
    assert any(n.startswith("floor_not_applied") for n in out.notes)


def test_degraded_with_a_first_stage_model_is_floored_by_it():
    reranker = Reranker(
        FailingScorer(RuntimeError("x")),
        policy=policy(reranked=PLATT, first_stage=BY_DENSE, floor=Floor(refuse_below=0.9)),
    )
    out = reranker.rerank("q", abcd(dense=[0.1, 0.2, 0.3, 0.4]))
    assert (out.status, out.path) == (Status.REFUSED, Path.DEGRADED)


BOTH = {"reranked": PLATT, "first_stage": BY_DENSE}


def test_an_unread_passage_cannot_unrefuse_a_query():
    scorer = FakeScorer(dict.fromkeys("abcd", -9.0))
    section = {**BOTH, "k": 3, "floor": Floor(refuse_below=0.5)}
    out = Reranker(scorer, policy=policy(**section)).rerank("q", abcd(dense=[0.99] * 4))
    assert out.status is Status.REFUSED
    assert out.passages[3].relevance_score is None, "its probability is the first stage's"


def test_an_unread_passage_cannot_refuse_what_has_no_probability():
    section = {"first_stage": BY_DENSE, "k": 2, "floor": Floor(refuse_below=0.5)}
    out = Reranker(FakeScorer(TABLE), policy=policy(**section)).rerank(
        "q", abcd(dense=[0.9, 0.9, 0.1, 0.1])
    )
    assert out.status is Status.RERANKED and len(out.kept) == 4
    assert any(n.startswith("floor_not_applied") for n in out.notes)


def test_nothing_behind_a_dropped_passage_stays():
    section = {**BOTH, "k": 2, "floor": Floor(drop_below=0.6)}
    out = Reranker(FakeScorer({"a": 2.0, "b": 0.0}), policy=policy(**section)).rerank(
        "q", abcd(dense=[0.99] * 4)
    )
    assert texts(out.kept) == ["a"]


def test_a_prefix_read_in_time_refuses_nothing():
    section = {**BOTH, "floor": Floor(refuse_below=0.9)}
    clock = Clock()
    out = Reranker(slow(clock, 10), policy=policy(**section)).rerank(
        "zebra", abcd(dense=[0.9] * 4), deadline=Deadline.after(25, clock=clock)
    )
    assert (out.status, out.reason) == (Status.DEGRADED, "deadline_partial")
    assert len(out.kept) == 4 and any(n.startswith("scores_unused") for n in out.notes)
