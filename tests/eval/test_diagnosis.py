"""Diagnosis: each finding appears when its numbers do, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from rankgate.errors import InputError
from rankgate_eval.stats.significance import Difference
from rankgate_eval.verdict.diagnosis import Limits, Observations, diagnose
from rankgate_eval.verdict.recall import DEPTHS, find_knee

GOOD = {5: 0.80, 25: 0.97, 50: 0.98, 100: 0.985}


def gain(mean, low, high):
    return Difference(
        mean=mean,
        low=low,
        high=high,
        least=low,
        p=0.5,
        standard_error=0.01,
        n=200,
        clusters=200,
        level=0.95,
    )


def codes(recall=None, **changes):
    values = {"k": 50, "top_n": 5, "headroom": 0.18, **changes}
    return [d.code for d in diagnose(Observations(recall=recall or GOOD, **values))]


def test_a_healthy_system_hears_the_rule_of_thumb_alone():
    assert codes(gain=gain(0.05, 0.02, 0.08)) == ["headroom_rule"]


def test_the_ceiling_is_retrieval():
    found = diagnose(Observations(recall={50: 0.7, 100: 0.71}, k=50, top_n=5, headroom=0.2))
    assert [d.code for d in found] == ["retrieval_ceiling", "headroom_rule"]
    assert "29.0%" in found[0].sentence and "recall@100 is 0.710" in found[0].sentence
    assert "chunking" in found[0].advice and "rewriting" in found[0].advice
    assert "retrieval_ceiling" not in codes({100: 0.9})


def test_another_first_stage_that_was_measured_is_named():
    found = diagnose(
        Observations(
            recall={100: 0.80},
            k=50,
            top_n=5,
            headroom=0.2,
            alternatives={"dense": 0.81, "bm25": 0.90, "hybrid": 0.85},
        )
    )
    assert [d.code for d in found][:2] == ["retrieval_ceiling", "better_retrieval"]
    assert "bm25 finds 0.900" in found[1].sentence
    assert "better_retrieval" not in codes({100: 0.95}, alternatives={"bm25": 0.96})


def test_recall_that_still_rises_asks_for_more_candidates():
    assert "few_candidates" in codes({10: 0.6, 20: 0.8, 40: 0.95}, k=20)
    # Beyond K is not known: the last doubling up to it speaks instead.
    assert "few_candidates" in codes({25: 0.90, 50: 0.95}, k=50)
    assert "few_candidates" not in codes({25: 0.95, 50: 0.96}, k=50)
    assert "few_candidates" not in codes({25: 0.80, 50: 0.95, 100: 0.955}, k=50)
    assert "few_candidates" not in codes({100: 0.95}, k=50)
    # Ten times K is no next step: what the last doubling before K says counts.
    assert "few_candidates" not in codes({25: 0.945, 50: 0.95, 500: 0.99}, k=50)


def test_reading_more_is_advised_before_the_knee_and_nowhere_else():
    """The chart called 20 the knee, and the diagnosis beside it asked a reader of 50 for more."""
    draws = np.random.default_rng(0)
    advised = 0
    for _ in range(300):
        depths = sorted({*draws.choice(DEPTHS, 6, replace=False).tolist(), 20})
        rises = draws.exponential(0.04, len(depths)) * draws.integers(0, 2, len(depths))
        recall = dict(zip(depths, np.minimum(rises.cumsum() + 0.3, 1.0).tolist(), strict=True))
        knee = find_knee(recall)
        found = [
            d
            for d in diagnose(Observations(recall=recall, k=20, top_n=5, headroom=0.2))
            if d.code == "few_candidates"
        ]
        assert bool(found) == (knee is None or knee > 20), recall
        assert "rises by 0.0 points" not in "".join(d.sentence for d in found)
        advised += len(found)
    assert 50 < advised < 250


def test_nothing_to_lift_is_said_before_the_reranker_is_blamed():
    found = codes(headroom=0.01, gain=gain(-0.1, -0.2, -0.05))
    assert found == ["nothing_to_lift", "headroom_rule"]
    assert "nothing_to_lift" not in codes(headroom=0.02)


def test_a_certain_loss_with_headroom_is_a_foreign_domain():
    found = diagnose(
        Observations(recall=GOOD, k=50, top_n=5, headroom=0.2, gain=gain(-0.06, -0.09, -0.03))
    )
    assert found[0].code == "domain_mismatch"
    assert "6.0 points" in found[0].sentence and "Fine-tune" in found[0].advice
    assert "domain_mismatch" not in codes(headroom=0.03, gain=gain(-0.06, -0.09, -0.03))


def test_an_uncertain_loss_is_not_called_a_mismatch():
    assert codes(gain=gain(-0.01, -0.03, 0.01)) == ["unused_headroom", "headroom_rule"]
    assert codes(gain=None) == ["headroom_rule"]


@pytest.mark.parametrize(("headroom", "word"), [(0.25, "usually pays"), (0.24, "need not pay")])
def test_the_rule_of_thumb_is_advice(headroom, word):
    last = diagnose(Observations(recall=GOOD, k=50, top_n=5, headroom=headroom))[-1]
    assert last.code == "headroom_rule"
    assert word in last.sentence and "not the verdict" in last.advice


def test_limits_can_be_moved():
    seen = Observations(recall=GOOD, k=50, top_n=5, headroom=0.1)
    found = diagnose(seen, Limits(ceiling=0.999, nothing=0.2))
    assert [d.code for d in found] == ["retrieval_ceiling", "nothing_to_lift", "headroom_rule"]


def test_shares_outside_their_range_are_refused():
    for bad in ({"recall": {}}, {"headroom": -0.1}, {"recall": {5: 1.2}}, {"k": 0}):
        with pytest.raises(InputError):
            Observations(**{"recall": GOOD, "k": 50, "top_n": 5, "headroom": 0.1, **bad})
    with pytest.raises(InputError, match="bm25"):
        Observations(recall=GOOD, k=50, top_n=5, headroom=0.1, alternatives={"bm25": 96.0})
