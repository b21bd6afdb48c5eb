"""The single fits: threshold bounds, the gate's frontier, relevance weights and their signs."""

import numpy as np
import pytest
from calibrate_world import world

from rankgate.bounds import clopper_pearson, share_below
from rankgate.decide.signals import Signals
from rankgate.errors import InputError
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.floor_fit import (
    fit_threshold,
    most_wrongs,
    needed_for,
    needed_to_wrong,
)
from rankgate_eval.calibrate.gate_fit import (
    choose_threshold,
    fit_harm,
    frontier,
    gate_signals,
    harm_of,
    thinned,
)
from rankgate_eval.calibrate.relevance_fit import fit_relevance, variants_of
from rankgate_eval.calibrate.serve import place_by_scores

HYBRID = FirstStageKind.HYBRID
EVERY = variants_of(HYBRID, scored=True)[0]


def signals(**values):
    return Signals(candidates=20, query_words=5, **values)


# --- the floor's bound ---------------------------------------------------------------------------


@pytest.mark.parametrize(("wrongs", "n"), [(0, 59), (3, 100), (17, 120)])
def test_the_bound_is_that_of_clopper_and_pearson(wrongs, n):
    assert share_below(wrongs, n, confidence=0.95) == pytest.approx(
        clopper_pearson(wrongs, n, level=0.9)[1], abs=1e-12
    )
    assert share_below(n, n, confidence=0.95) == 1.0
    assert share_below(0, 0, confidence=0.95) == 1.0


def test_without_enough_queries_there_is_no_threshold():
    assert needed_for(0.05, confidence=0.95) == 59
    values = np.linspace(0.1, 0.9, 59)
    assert fit_threshold(values[:58], range(58), share=0.05, confidence=0.95) is None
    found = fit_threshold(values, range(59), share=0.05, confidence=0.95)
    assert found.value == values[0] and found.wrongs == 0 and found.upper <= 0.05


def test_the_threshold_is_the_highest_that_the_bound_allows():
    values = np.linspace(0.0, 0.999, 200)
    found = fit_threshold(values, range(200), share=0.05, confidence=0.95)
    assert share_below(found.wrongs, 200, confidence=0.95) <= 0.05
    assert share_below(found.wrongs + 1, 200, confidence=0.95) > 0.05
    assert int((values < found.value).sum()) == found.wrongs
    # Equal probabilities pass or fail together: the threshold is inclusive.
    tied = np.where(values < 0.5, 0.25, values)
    assert fit_threshold(tied, range(200), share=0.05, confidence=0.95).wrongs == 0


def test_few_queries_keep_a_floor_down_and_it_is_said_how_many_would_not():
    assert most_wrongs(58, share=0.05, confidence=0.95) is None
    assert most_wrongs(59, share=0.05, confidence=0.95) == 0
    assert most_wrongs(126, share=0.05, confidence=0.95) == 2  # 3 of 126 could be 6.0%
    assert share_below(3, 126, confidence=0.95) > 0.05
    assert needed_to_wrong(0.0, share=0.05, confidence=0.95) == 59
    needed = needed_to_wrong(0.04, share=0.05, confidence=0.95)
    assert 1000 < needed < 1400
    assert share_below(0.04 * needed, needed, confidence=0.95) <= 0.05
    assert share_below(0.04 * (needed - 1), needed - 1, confidence=0.95) > 0.05
    # A floor on so many comes as near as is said.
    values = np.linspace(0.0, 0.999, needed)
    found = fit_threshold(values, range(needed), share=0.05, confidence=0.95)
    assert found.wrongs / needed == pytest.approx(0.04, abs=0.001)
    with pytest.raises(InputError, match="below share"):
        needed_to_wrong(0.05, share=0.05, confidence=0.95)


def test_queries_of_one_document_count_for_less():
    values = np.linspace(0.0, 0.999, 200)
    single = fit_threshold(values, range(200), share=0.2, confidence=0.95)
    clustered = fit_threshold(values, [i // 10 for i in range(200)], share=0.2, confidence=0.95)
    assert clustered.value < single.value and clustered.design_effect >= 10.0


@pytest.mark.parametrize("bad", [{"share": 0.0}, {"share": 1.0}, {"confidence": 1.0}])
def test_shares_and_confidence_are_checked(bad):
    with pytest.raises(InputError, match="in \\(0, 1\\)"):
        fit_threshold(
            np.linspace(0, 1, 99), range(99), **{"share": 0.05, "confidence": 0.95, **bad}
        )


@pytest.mark.parametrize("draws", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_false_refusals_on_fresh_draws_stay_below_the_target(draws):
    """In at least 95 of 100 fits, whatever the distribution; up to Monte Carlo error."""
    rng = np.random.default_rng(0)
    for n in (80, 200):
        missed = 0
        for _ in range(draws):
            found = fit_threshold(rng.random(n) ** 3, range(n), share=0.05, confidence=0.95)
            missed += found.value ** (1.0 / 3.0) > 0.05  # the true share below the threshold
        assert missed / draws <= 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / draws)
        # And it is not so careful as to be of no use.
        assert missed / draws >= 0.005


# --- the gate ------------------------------------------------------------------------------------


def test_the_frontier_counts_every_skipped_query():
    harm = np.array([0.3, 0.1, 0.3, 0.9])
    loss = np.array([0.4, -0.2, 0.0, 1.0])
    points = frontier(harm, loss)
    assert [p.skip_rate for p in points] == [0.0, 0.25, 0.75, 1.0]
    assert [p.loss for p in points] == pytest.approx([0.0, -0.05, 0.05, 0.3])
    assert points[1].error == pytest.approx(0.05)
    assert points[3].error == pytest.approx(np.sqrt(0.16 + 0.04 + 1.0) / 4)
    grouped = frontier(harm, loss, ["a", "a", "b", "b"])
    assert grouped[3].error == pytest.approx(np.sqrt(0.2**2 + 1.0) / 4)


def test_the_threshold_skips_most_within_the_budget_and_an_error():
    harm = np.linspace(0.0, 1.0, 1000)
    loss = np.where(np.arange(1000) < 600, 0.0, 0.5)
    loss[::100] = 0.02
    chosen = choose_threshold(frontier(harm, loss), max_loss=0.002, skip_rate=None)
    assert chosen.loss + chosen.error <= 0.002
    assert 0.59 <= chosen.skip_rate <= 0.605
    few = frontier(np.linspace(0.0, 1.0, 100), np.full(100, 0.5))
    assert choose_threshold(few, max_loss=0.002, skip_rate=None) is None


def test_a_gain_from_skipping_is_not_spent():
    harm = np.linspace(0.0, 1.0, 1000)
    loss = np.where(np.arange(1000) < 400, -0.5, 0.2)  # skipping all would cost nothing on average
    chosen = choose_threshold(frontier(harm, loss), max_loss=0.002, skip_rate=None)
    assert chosen.skip_rate == pytest.approx(0.41, abs=0.011)


def chosen_rates(spread):
    """Skip rates over 40 draws of losses around 0, in which no query is worth reranking."""
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(40):
        loss = rng.normal(size=400) * spread
        loss -= loss.mean()
        chosen = choose_threshold(frontier(rng.random(400), loss), max_loss=0.002, skip_rate=None)
        rates.append(0.0 if chosen is None else chosen.skip_rate)
    return rates


def test_a_scorer_shown_to_be_of_no_use_is_skipped_altogether():
    assert sum(rate == 1.0 for rate in chosen_rates(0.03)) >= 38


def test_a_loss_that_is_only_not_seen_is_no_licence_to_skip_everything():
    # The mean is 0, but with 400 queries it might as well be 0.03.
    assert max(chosen_rates(0.3)) < 1.0
    # Likewise a mean within the budget whose error is not.
    loss = np.zeros(300)
    loss[::100] = 0.15
    points = frontier(np.linspace(0.0, 1.0, 300), loss)
    assert points[-1].loss <= 0.002 < points[-1].loss + points[-1].error
    assert choose_threshold(points, max_loss=0.002, skip_rate=None).skip_rate < 0.7


def test_skipping_everything_loses_no_more_than_any_other_point_may():
    """It could lose as much as its error, .045 once: nothing is free because it is not known."""
    n = np.arange(400)
    # Skipping gains on three quarters; on the rest it loses, by a toss-up or a little each time.
    for loss in (
        np.where(n < 300, -0.1, np.where(n % 2, -0.96, 1.0)),
        np.where(n < 300, -0.1, 0.02),
    ):
        points = frontier(n / 400, loss)
        best = min(p.loss for p in points)
        assert points[-1].loss - best > 0.002
        chosen = choose_threshold(points, max_loss=0.002, skip_rate=None)
        assert 0.75 < chosen.skip_rate < 0.9 and chosen.loss - best <= 0.002


def test_nothing_is_skipped_where_only_a_gain_is_uncertain():
    points = frontier(np.array([0.1, 0.2]), np.array([-0.5, 0.5]))
    assert choose_threshold(points, max_loss=0.0, skip_rate=None).skip_rate == 0.5
    unsure = frontier(np.array([0.1, 0.1, 0.9]), np.array([-0.8, 0.7, 0.9]))
    assert choose_threshold(unsure, max_loss=0.002, skip_rate=None) is None


def test_a_frontier_is_thinned_for_a_file():
    points = frontier(np.linspace(0.0, 1.0, 500), np.full(500, 0.1))
    kept = thinned(points)
    assert 30 <= len(kept) <= 41
    assert kept[0]["skip_rate"] == 0.0 and kept[-1]["skip_rate"] == 1.0
    assert thinned([]) == []


def test_a_skip_rate_is_met():
    harm = np.linspace(0.0, 1.0, 100)
    points = frontier(harm, np.full(100, 0.1))
    assert choose_threshold(points, max_loss=None, skip_rate=0.3).skip_rate == pytest.approx(0.3)
    assert choose_threshold(points, max_loss=None, skip_rate=0.0) is None
    with pytest.raises(InputError, match="not on both"):
        choose_threshold(points, max_loss=0.1, skip_rate=0.3)


def test_harm_is_predicted_from_what_tells_it():
    rng = np.random.default_rng(1)
    margins = rng.random(300)
    seen = [signals(dense_margin_12=float(m), dense_top1=float(rng.random())) for m in margins]
    loss = np.where(margins < 0.5, 0.4, 0.0)
    names = gate_signals(seen, lexicon=False)
    assert names == ("dense_top1", "dense_margin_12")
    model = fit_harm(seen, loss, names)
    weight = {f.name: f.weight for f in model.features}
    assert weight["dense_margin_12"] < -1.0 and abs(weight["dense_top1"]) < 0.5
    assert harm_of(model, signals(dense_margin_12=0.9, dense_top1=0.5)) < 0.1
    assert harm_of(model, signals(dense_margin_12=0.1, dense_top1=0.5)) > 0.9
    # A missing signal is never imputed: the gate would rerank.
    assert harm_of(model, signals(dense_top1=0.5)) == 1.0


def test_no_harm_and_all_harm_are_constants():
    seen = [signals(dense_margin_12=i / 50) for i in range(50)]
    never = fit_harm(seen, np.zeros(50), ("dense_margin_12",))
    assert never.features == () and harm_of(never, seen[0]) == pytest.approx(0.5 / 51)
    assert harm_of(fit_harm(seen, np.ones(50), ("dense_margin_12",)), seen[0]) > 0.98


def test_signals_that_not_all_have_or_that_are_rare_are_left_out():
    seen = [signals(negation=float(i < 5), unknown_share=i / 40) for i in range(40)]
    assert gate_signals(seen, lexicon=False) == ()
    assert gate_signals(seen, lexicon=True) == ("unknown_share",)
    lacking = [*seen, signals(unknown_share=None)]
    assert gate_signals(lacking, lexicon=True) == ()


# --- relevance -----------------------------------------------------------------------------------


def test_an_informative_scorer_is_trusted():
    rows = world(0, queries=80)
    fitted = fit_relevance(rows, EVERY, scored=True)
    assert fitted.reads_raw and fitted.n == 160
    assert all(f.weight >= 0.0 for f in fitted.model.features)
    good = [r for r in rows if r.answerable]
    assert np.mean([place_by_scores(r, fitted.model).ndcg10 for r in good]) > 0.95


def test_a_scorer_that_is_wrong_the_other_way_round_is_left_out():
    fitted = fit_relevance(world(0, queries=80, scorer="inverted"), EVERY, scored=True)
    assert not fitted.reads_raw
    assert fitted.dropped["raw"] == "its weight contradicts its meaning"


def test_constant_scores_are_no_feature():
    fitted = fit_relevance(world(0, queries=40, scorer="constant"), EVERY, scored=True)
    assert fitted.dropped["raw"] == "does not vary"


def test_nothing_relevant_among_the_candidates_is_an_error():
    rows = [r for r in world(0, queries=10) if not r.answerable]
    with pytest.raises(InputError, match="none of 10 queries has a relevant passage"):
        fit_relevance(rows, EVERY, scored=True)
