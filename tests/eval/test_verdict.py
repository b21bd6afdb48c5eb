"""Verdict: every way to be shipped, refused or sent back for more data, from given numbers."""

from __future__ import annotations

import pytest

from rankgate.errors import InputError
from rankgate_eval.run.latency import Budget, BudgetStatus
from rankgate_eval.stats.significance import Difference
from rankgate_eval.stats.strata import StrataReport, StratumResult
from rankgate_eval.verdict.verdict import Call, Evidence, Standards, judge


def difference(mean, half, *, p=None, n=400, clusters=None):
    """A difference with a symmetric interval, and the p that goes with it."""
    certain = 0.001 if abs(mean) > half else 0.4
    return Difference(
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=certain if p is None else p,
        standard_error=half / 1.96,
        n=n,
        clusters=n if clusters is None else clusters,
        level=0.95,
    )


GAIN, SAME = difference(0.05, 0.02), difference(0.0, 0.01)


def evidence(**changes):
    values = {"ndcg": GAIN, "recall": SAME, "top_n": 5, "skip_rate": 0.0, **changes}
    return Evidence(**values)


def strata(mean, adjusted, name="many"):
    result = StratumResult(
        dimension="typos",
        name=name,
        n=40,
        clusters=40,
        difference=difference(mean, abs(mean) / 2, n=40),
        adjusted_p=adjusted,
        losers=("q7", "q9"),
    )
    small = StratumResult(
        dimension="typos",
        name="some",
        n=3,
        clusters=3,
        difference=None,
        adjusted_p=None,
        losers=("q1",),
    )
    return StrataReport(results=(result, small), alpha=0.05, min_queries=20, min_clusters=10)


def budget(status, observed=80.0):
    return Budget(
        status=status, budget_ms=100.0, quantile=0.95, observed_ms=observed, n=400, needed=59
    )


def test_a_gain_without_loss_ships():
    verdict = judge(evidence())
    assert verdict.call is Call.SHIP and verdict.exit_code == 0
    assert verdict.queries_needed is None and verdict.regressions == ()
    assert "better than that of the tuned first stage: +0.050" in verdict.reasons[0]
    assert "recall@5 is not worse" in verdict.reasons[1]


def test_a_gate_that_skips_ships_with_the_gate():
    verdict = judge(evidence(skip_rate=0.31))
    assert verdict.call is Call.SHIP_BEHIND_GATE and verdict.exit_code == 0
    assert "skipped 31%" in verdict.reasons[-1]


def test_a_loss_is_not_shipped():
    verdict = judge(evidence(ndcg=difference(-0.05, 0.02)))
    assert verdict.call is Call.DONT_SHIP and verdict.exit_code == 1
    assert "nDCG@10 is worse" in verdict.reasons[0]


def test_a_gain_that_is_certainly_too_small_needs_no_more_data():
    verdict = judge(evidence(ndcg=difference(0.001, 0.004)))
    assert verdict.call is Call.DONT_SHIP and "less than 0.010" in verdict.reasons[0]


def test_nothing_skipped_nothing_changed_is_not_shipped():
    verdict = judge(evidence(ndcg=difference(0.0, 0.0, p=1.0), skip_rate=1.0))
    assert verdict.call is Call.DONT_SHIP


def test_a_certain_but_small_gain_ships_and_is_called_small():
    verdict = judge(evidence(ndcg=difference(0.004, 0.002)))
    assert verdict.call is Call.SHIP and "less than 0.010" in verdict.reasons[0]


def test_an_open_gain_says_how_many_queries_would_tell():
    seen = difference(0.03, 0.04)
    verdict = judge(evidence(ndcg=seen))
    assert verdict.call is Call.NOT_ENOUGH_DATA and verdict.exit_code == 3
    assert verdict.queries_needed == seen.needed() > 400
    assert f"About {verdict.queries_needed} queries" in verdict.reasons[0]


def test_an_open_loss_asks_for_what_excludes_a_useful_gain():
    seen = difference(-0.01, 0.03)
    verdict = judge(evidence(ndcg=seen))
    assert verdict.call is Call.NOT_ENOUGH_DATA
    assert verdict.queries_needed == max(401, seen.needed(against=0.01))


def test_interval_and_test_must_agree():
    verdict = judge(evidence(ndcg=difference(0.05, 0.02, p=0.2)))
    assert verdict.call is Call.NOT_ENOUGH_DATA and verdict.queries_needed > 400


def test_recall_is_guarded_by_its_margin():
    worse = judge(evidence(recall=difference(-0.05, 0.02)))
    assert worse.call is Call.DONT_SHIP and "recall@5 falls by more" in worse.reasons[0]
    within = judge(evidence(recall=difference(-0.010, 0.005)))
    assert within.call is Call.SHIP
    open_question = judge(evidence(recall=difference(-0.005, 0.03)))
    assert open_question.call is Call.NOT_ENOUGH_DATA
    assert open_question.queries_needed == difference(-0.005, 0.03).needed(against=-0.02)
    wide = judge(evidence(recall=difference(-0.005, 0.03)), Standards(recall_margin=0.04))
    assert wide.call is Call.SHIP


def test_a_refusal_outweighs_an_open_question():
    verdict = judge(evidence(ndcg=difference(-0.05, 0.02), recall=difference(-0.005, 0.03)))
    assert verdict.call is Call.DONT_SHIP and "is open" in verdict.reasons[1]


@pytest.mark.parametrize(
    ("status", "observed", "call"),
    [
        (BudgetStatus.INSIDE, 80.0, Call.SHIP),
        (BudgetStatus.OVER, 120.0, Call.DONT_SHIP),
        (BudgetStatus.OVER, None, Call.DONT_SHIP),
        (BudgetStatus.UNKNOWN, None, Call.NOT_ENOUGH_DATA),
    ],
)
def test_latency_must_keep_its_budget(status, observed, call):
    verdict = judge(evidence(latency=budget(status, observed)))
    assert verdict.call is call
    assert any("p95 latency" in reason and "100 ms" in reason for reason in verdict.reasons)


def test_a_surviving_regression_holds_the_verdict_back_and_is_named():
    verdict = judge(evidence(strata=strata(-0.1, 0.01), skip_rate=0.2))
    assert verdict.call is Call.DONT_SHIP
    (named,) = verdict.regressions
    assert named.key == "typos=many"
    assert "typos = many" in verdict.reasons[0] and "q7, q9" in verdict.reasons[0]


def test_a_small_regression_is_named_and_does_not_hold_back():
    verdict = judge(evidence(strata=strata(-0.008, 0.01)))
    assert verdict.call is Call.SHIP and len(verdict.regressions) == 1
    assert any("too small a loss" in reason for reason in verdict.reasons)
    strict = judge(evidence(strata=strata(-0.008, 0.01)), Standards(stratum_margin=0.0))
    assert strict.call is Call.DONT_SHIP


def test_a_loss_that_does_not_survive_is_none():
    verdict = judge(evidence(strata=strata(-0.1, 0.2)))
    assert verdict.call is Call.SHIP and verdict.regressions == ()


@pytest.mark.parametrize("ndcg", [difference(-0.05, 0.02), difference(0.03, 0.04)])
def test_no_stratum_turns_a_verdict_into_ship(ndcg):
    without = judge(evidence(ndcg=ndcg))
    assert judge(evidence(ndcg=ndcg, strata=strata(0.4, 0.001))).call is without.call


@pytest.mark.parametrize("mean", [0.5, -0.5, 0.0])
def test_few_queries_decide_nothing_however_clear(mean):
    few = difference(mean, 0.01, n=10)
    verdict = judge(evidence(ndcg=few, recall=few))
    assert verdict.call is Call.NOT_ENOUGH_DATA and verdict.queries_needed == 50
    assert verdict.reasons[0].startswith("10 judged queries are too few")


def test_few_documents_decide_nothing_either():
    few = difference(0.05, 0.02, n=400, clusters=4)
    verdict = judge(evidence(ndcg=few, recall=few))
    assert verdict.call is Call.NOT_ENOUGH_DATA and verdict.queries_needed > 400
    assert "4 document groups" in verdict.reasons[0]


def test_the_same_evidence_gives_the_same_verdict():
    seen = evidence(strata=strata(-0.1, 0.01), latency=budget(BudgetStatus.INSIDE))
    assert judge(seen) == judge(seen)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="skip_rate"):
        evidence(skip_rate=31.0)
    with pytest.raises(InputError, match="same ones"):
        evidence(recall=difference(0.0, 0.01, n=399))
    with pytest.raises(InputError, match=r"alpha = 0\.1"):
        judge(evidence(), Standards(alpha=0.1))
    for bad in ({"alpha": 0.0}, {"power": 1.0}, {"recall_margin": 0.0}, {"stratum_margin": -0.1}):
        with pytest.raises(InputError):
            Standards(**bad)


def test_a_number_that_nobody_has_is_not_named():
    from rankgate_eval.verdict.verdict import _wanted

    assert _wanted(None) == ""
    assert "About 265 queries" in _wanted(265)
    assert "2756711" not in _wanted(2_756_711) and "within reach" in _wanted(2_756_711)
