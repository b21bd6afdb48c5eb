"""Verdict: every way to be shipped, refused or sent back for more data, from given numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from rankgate.errors import InputError
from rankgate_eval.result.call import Call
from rankgate_eval.result.parts import BudgetResult, BudgetStatus
from rankgate_eval.run.standards import Standards
from rankgate_eval.stats.significance import Difference, compare
from rankgate_eval.stats.strata import StrataReport, StratumResult
from rankgate_eval.verdict.verdict import Evidence, Over, judge


def difference(mean, half, *, p=None, n=400, clusters=None):
    """A difference with a symmetric interval, and the p that goes with it."""
    certain = 0.001 if abs(mean) > half else 0.4
    return Difference(
        mean=mean,
        low=mean - half,
        high=mean + half,
        least=mean - half,
        p=certain if p is None else p,
        standard_error=half / 1.96,
        n=n,
        clusters=n if clusters is None else clusters,
        level=0.95,
    )


GAIN, SAME = difference(0.05, 0.02), difference(0.0, 0.01)


def evidence(**changes):
    values = {"top_n": 5, "skip_rate": 0.0, **changes}
    ndcg, recall = values.pop("ndcg", GAIN), values.pop("recall", SAME)
    over = Over(name="the tuned first stage", ndcg=ndcg, recall=recall)
    return Evidence(over=(over, *values.pop("also", ())), **values)


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
    return BudgetResult(
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


def test_a_certain_gain_that_is_certainly_too_small_is_not_shipped():
    """+.003 [-.001, .007] was refused while +.003 [.001, .005] shipped: more data flattered it."""
    for half in (0.004, 0.002):
        verdict = judge(evidence(ndcg=difference(0.003, half)))
        assert verdict.call is Call.DONT_SHIP and "less than 0.010" in verdict.reasons[0]


def test_a_small_gain_that_may_be_useful_ships_and_is_called_so():
    verdict = judge(evidence(ndcg=difference(0.007, 0.005)))
    assert verdict.call is Call.SHIP and "by 0.010 or more only perhaps" in verdict.reasons[0]
    edge = Difference(
        mean=0.005,
        low=0.001,
        high=0.01,
        least=0.001,
        p=0.001,
        standard_error=0.002,
        n=400,
        clusters=400,
        level=0.95,
    )
    assert judge(evidence(ndcg=edge)).call is Call.SHIP  # the useful gain itself is not excluded


FINAL = {Call.NOT_ENOUGH_DATA: 0, Call.SHIP: 1, Call.SHIP_BEHIND_GATE: 1, Call.DONT_SHIP: 2}


@settings(max_examples=500, deadline=None)
@given(
    mean=st.integers(-15, 30).map(lambda i: i / 1000),
    fall=st.sampled_from([-0.03, -0.019, -0.01, 0.0, 0.02]),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    wide=st.integers(1, 30).map(lambda i: i / 1000),
    times=st.sampled_from([1.0, 2.0, 4.0, 16.0, 1000.0]),
)
def test_more_data_never_turn_dont_ship_into_ship(mean, fall, share, wide, times):
    """The same means on `times` as many queries: intervals are narrower by the root of it."""
    found = []
    for n in (100, round(100 * times)):
        half = wide * (100 / n) ** 0.5
        ndcg, recall = (
            difference(m, half, p=float(2.0 * norm.sf(abs(m) / (half / 1.96))), n=n)
            for m in (mean, fall)
        )
        found.append(FINAL[judge(evidence(ndcg=ndcg, recall=recall, skip_rate=share)).call])
    few, many = found
    assert many >= few


@pytest.mark.parametrize(
    ("low", "high", "right"),
    [
        (-0.03, -0.01, Call.DONT_SHIP),
        (-0.01, 0.009, Call.DONT_SHIP),
        (0.001, 0.009, Call.DONT_SHIP),
        (-0.01, 0.03, Call.NOT_ENOUGH_DATA),
        (0.0, 0.03, Call.NOT_ENOUGH_DATA),
        (0.001, 0.03, Call.SHIP),
        (0.02, 0.03, Call.SHIP),
    ],
)
@pytest.mark.parametrize("skipped", [0.0, 0.4])
def test_the_whole_table_of_gains(low, high, right, skipped):
    ndcg = difference((low + high) / 2.0, (high - low) / 2.0, p=0.001 if low > 0.0 else 0.2)
    expected = Call.SHIP_BEHIND_GATE if right is Call.SHIP and skipped else right
    assert judge(evidence(ndcg=ndcg, skip_rate=skipped)).call is expected


def test_an_open_gain_says_how_many_queries_would_tell():
    seen = difference(0.03, 0.04)
    verdict = judge(evidence(ndcg=seen))
    assert verdict.call is Call.NOT_ENOUGH_DATA and verdict.exit_code == 3
    assert verdict.queries_needed == seen.needed() > 400
    assert f"About {verdict.queries_needed} queries" in verdict.reasons[0]


@pytest.mark.parametrize(("mean", "against"), [(0.004, 0.01), (0.006, 0.0)])
def test_an_open_small_gain_asks_for_what_closes_it_first(mean, against):
    seen = difference(mean, 0.04)
    assert judge(evidence(ndcg=seen)).queries_needed == seen.needed(against=against)


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
    assert verdict.call is Call.NOT_ENOUGH_DATA
    assert verdict.queries_needed == 2000  # at 100 a document, for 20 documents
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


def test_a_number_that_nobody_has_is_neither_named_nor_stored():
    at_the_margin = difference(-0.01999, 0.03)
    verdict = judge(evidence(recall=at_the_margin))
    assert verdict.call is Call.NOT_ENOUGH_DATA and verdict.queries_needed is None
    assert "No number of queries within reach would tell" in verdict.reasons[0]
    # Enough for one question that is open, and not for the other.
    both = judge(evidence(ndcg=difference(0.03, 0.04), recall=at_the_margin))
    assert "About" in both.reasons[0] and both.queries_needed is None


def over(name, ndcg, recall=SAME):
    return Over(name=name, ndcg=ndcg, recall=recall)


@pytest.mark.parametrize(
    ("other", "right"),
    [
        (difference(0.001, 0.004), Call.DONT_SHIP),  # the weights do it, not the scorer
        (difference(0.013, 0.025), Call.NOT_ENOUGH_DATA),
        (difference(-0.05, 0.02), Call.DONT_SHIP),
        (difference(0.04, 0.02), Call.SHIP),
    ],
)
def test_it_has_to_be_better_than_every_order_without_the_scorer(other, right):
    """+.05 over the tuned first stage shipped while the policy gained nothing over itself."""
    skipped = over("the same policy with everything skipped", other)
    verdict = judge(evidence(also=(skipped,)))
    assert verdict.call is right
    if right is not Call.SHIP:
        assert "the same policy with everything skipped" in verdict.reasons[0]


def test_recall_is_compared_with_the_order_that_it_is_farthest_behind():
    behind = over("the same policy with everything skipped", GAIN, difference(-0.05, 0.02))
    verdict = judge(evidence(also=(behind,)))
    assert verdict.call is Call.DONT_SHIP and "everything skipped" in verdict.reasons[0]


def test_skipping_everything_never_ships():
    verdict = judge(evidence(skip_rate=1.0))
    assert verdict.call is Call.DONT_SHIP and "not asked once" in verdict.reasons[0]


def test_a_loss_too_rare_to_be_seen_is_not_excluded_by_nothing_seen():
    """No changed pair gave the interval [0, 0], which excluded any loss of recall."""
    small, large = (compare([0.5] * n, [0.5] * n) for n in (100, 400))
    assert small.low == small.high == 0.0
    assert not small.not_worse_than(0.02) and large.not_worse_than(0.02)
    verdict = judge(evidence(ndcg=difference(0.05, 0.02, n=100), recall=small))
    assert verdict.call is Call.NOT_ENOUGH_DATA and verdict.queries_needed == 183


def test_a_verdict_needs_something_to_compare_with():
    with pytest.raises(InputError, match="needs an order to compare with"):
        Evidence(over=(), top_n=5, skip_rate=0.0)


def test_a_fall_beyond_the_margin_counts_wherever_it_stands():
    """A wider interval elsewhere hid it: only the order with the lowest bound was looked at."""
    wide = difference(-0.03, 0.05)
    fallen = over("the same policy with everything skipped", GAIN, difference(-0.05, 0.015))
    verdict = judge(evidence(recall=wide, also=(fallen,)))
    assert verdict.call is Call.DONT_SHIP and "everything skipped" in verdict.reasons[0]


def test_a_fall_that_may_be_chance_is_told_how_many_questions_would_show_it():
    told = judge(evidence(recall=difference(-0.1, 0.11)))
    assert told.call is Call.NOT_ENOUGH_DATA and told.queries_needed is not None
    assert "next to nothing" not in told.reasons[0]
