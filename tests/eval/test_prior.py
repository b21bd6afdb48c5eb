"""Probabilities belong to a mixture of questions: fitted for it, judged on it, and it is named."""

import dataclasses
import functools
import json

import evaluate_kit as kit
import numpy as np
import pytest
from calibrate_world import world

from rankgate import Policy
from rankgate.decide.section import Section
from rankgate.errors import InputError
from rankgate.live.promise import promise_of
from rankgate.live.reliability import measure_reliability, mixture_weights
from rankgate.testing import FakeScorer
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.confirm import fit_checked
from rankgate_eval.calibrate.measure import brier_gain, describe
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.relevance_fit import fit_relevance
from rankgate_eval.report.facts import mixture_sentence

w = kit.w


@functools.cache
def fitted(prior, seed=0):
    """A first stage that is often wrong, so that probabilities are neither 0 nor 1."""
    options = FitOptions(kind=FirstStageKind.HYBRID, folds=2, prior=prior)
    rows = world(seed, queries=400, scorer="noise", first_stage=1.0)
    return fit_checked(rows, options, without=frozenset({"gate", "floor"})), options


def on(found, answerable):
    """Predicted and observed of the fresh half's best passages, of one kind or of both."""
    served = [s for s in found.served if answerable is None or s.row.answerable is answerable]
    return brier_gain([s.placed for s in served], [s.row for s in served], seed=0)[1]


def test_on_answerable_traffic_probabilities_of_half_and_half_are_too_low_and_prior_0_mends_it():
    usual, told = on(fitted(None)[0], True), on(fitted(0.0)[0], True)
    gap = usual["base_rate"] - usual["predicted"]
    assert gap > 0.1
    # Not nothing: the best of twenty is easier in some questions than any weights can tell.
    assert abs(told["base_rate"] - told["predicted"]) < gap / 2.0
    assert told["brier"] < usual["brier"]


@pytest.mark.parametrize("prior", [0.0, 0.1, 0.5, 0.8])
def test_probabilities_come_true_on_the_mixture_that_they_were_fitted_for(prior):
    found, options = fitted(prior)
    numbers = describe(found.served, top_n=5, seed=0, prior=options.prior)["probability"]["served"]
    assert numbers["predicted"] == pytest.approx(numbers["base_rate"], abs=0.09)
    assert found.parts.reranked.unanswerable == pytest.approx(prior)


def test_without_a_prior_it_is_that_of_the_questions_read():
    rows = world(1, queries=60)
    half = fit_relevance(rows, ["raw"], scored=True)
    assert half.unanswerable == pytest.approx(0.5)
    same = fit_relevance(rows, ["raw"], scored=True, prior=0.5)
    assert same.model.intercept == pytest.approx(half.model.intercept, abs=1e-3)
    rare = fit_relevance(rows, ["raw"], scored=True, prior=0.05)
    unsure = {"raw": -half.model.intercept / half.model.features[0].weight}
    assert half.model.logit(unsure) == pytest.approx(0.0)
    assert rare.model.logit(unsure) > 0.3, "fewer rivals: the same score says more"
    only = world(1, queries=60, removed=False)
    assert fit_relevance(only, ["raw"], scored=True).unanswerable == 0.0
    with pytest.raises(InputError, match="no unanswerable question"):
        fit_relevance(only, ["raw"], scored=True, prior=0.3)


@pytest.mark.parametrize("prior", [-0.1, 1.0, float("nan")])
def test_a_prior_is_a_share(prior):
    with pytest.raises(InputError, match="prior must be at least 0 and below 1"):
        FitOptions(kind=FirstStageKind.HYBRID, prior=prior)


def test_weights_make_the_mixture_and_what_weighs_nothing_is_not_counted():
    kinds = [True, False, False, False]
    weights = mixture_weights(kinds, 0.5)
    assert weights.mean() == pytest.approx(1.0) and weights[0] == pytest.approx(2.0)
    p, y = [0.2, 0.8, 0.8, 0.4], [False, True, True, False]
    found = measure_reliability(p, y, weights=weights)
    assert found.base_rate == pytest.approx(1.0 / 3.0)
    assert found.predicted == pytest.approx(0.5 * 0.2 + 0.5 * 2.0 / 3.0)
    alone = measure_reliability(p, y, weights=mixture_weights(kinds, 0.0))
    assert (alone.n, alone.brier) == pytest.approx((3, measure_reliability(p[1:], y[1:]).brier))
    # A row twice is a row of twice the weight.
    twice = measure_reliability([*p, 0.2], [*y, False])
    once = measure_reliability(p, y, weights=[2.0, 1.0, 1.0, 1.0])
    assert (twice.brier, twice.predicted) == pytest.approx((once.brier, once.predicted))


@pytest.mark.parametrize(
    ("kinds", "share", "message"),
    [
        ([False, False], 0.2, "no unanswerable question"),
        ([True], 0.2, "no answerable question"),
        ([True, False], 1.0, r"in \[0, 1\)"),
        ([], 0.0, "no answerable question"),
    ],
)
def test_mixtures_that_cannot_be_made_are_refused(kinds, share, message):
    with pytest.raises(InputError, match=message):
        mixture_weights(kinds, share)


def test_weights_are_checked():
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(InputError, match="weights must be 2 finite numbers"):
            measure_reliability([0.5, 0.5], [True, False], weights=weights)


def promising(unanswerable=0.5):
    """A policy of the planted world whose record says what its calibration saw."""
    share = {"share": 0.0, "count": 0, "n": 60, "interval": [0.0, 0.06]}
    answerable = {"n": 60, "predicted": 0.31, "base_rate": 0.58}
    record = {
        "section": "bm25",
        "mixture": {"unanswerable": unanswerable, "stated": False},
        "held_out": {
            "gate": {"skip_rate": share, "skip_rate_unanswerable": share},
            "floor": {"false_refusals_all_answerable": share, "false_answers": {}},
            "probability": {"answerable": answerable},
        },
    }
    return Policy(
        name="own",
        sections={"bm25": Section(reranked=kit.model(weight=1.0, intercept=-1.5))},
        provenance=record,
    )


def test_answerable_questions_alone_are_not_judged_by_a_mixture_that_they_are_not():
    found = kit.run(w.world(), w.knowing(), policy=promising()).reliability["top_1"]
    assert (found.unanswerable, found.claimed, found.brier_skill) == (0.0, 0.5, None)
    assert (found.expected.predicted, found.expected.observed, found.expected.n) == (0.31, 0.58, 60)
    told = mixture_sentence(found)
    assert "answerable questions alone" in told and "predicted 31.0% where 58.0% came true" in told
    assert "--prior 0" in told


def test_unanswerable_questions_are_weighted_to_what_the_policy_is_for_or_to_what_is_asked():
    data = w.world(unanswerable=6)
    asked = {**data.queries, **{f"u{i}": f"what is alpha{i}" for i in range(6)}}
    data = dataclasses.replace(data, queries=asked)
    found = kit.run(data, w.knowing(), policy=promising()).reliability["top_1"]
    # 120 answerable ones, all right at the top, and 6 others, which weigh as much together.
    assert found.n == 126 and found.base_rate == pytest.approx(0.5)
    assert (found.unanswerable, found.claimed) == (0.5, 0.5) and found.brier_skill is not None
    assert "what the policy's probabilities are for" in mixture_sentence(found)
    tenth = kit.run(data, w.knowing(), policy=promising(), prior=0.1).reliability["top_1"]
    assert tenth.base_rate == pytest.approx(0.9) and tenth.unanswerable == pytest.approx(0.1)
    assert "are for 50.0%; `rankgate calibrate --prior`" in mixture_sentence(tenth)
    unknown = kit.run(data, w.knowing(), policy=kit.policy(reranked=kit.model()))
    top = unknown.reliability["top_1"]
    assert top.unanswerable == pytest.approx(6 / 126) and top.claimed is None
    assert "does not say" in mixture_sentence(top)


def test_a_share_that_the_data_cannot_show_is_refused():
    with pytest.raises(InputError, match="has no unanswerable question to weigh"):
        kit.evaluate(w.world(), stage=_never, scorer=w.knowing(), policy=promising(), prior=0.3)


def _never(query, k):
    pytest.fail("searched before it was said")


def test_a_policy_that_names_no_mixture_is_given_no_skill_of_answerable_questions_alone():
    own = kit.policy(reranked=kit.model(weight=1.0, intercept=-1.5))
    halfway = FakeScorer(
        lambda query, text: text.startswith("gold") * (int(query.split("beta")[1]) % 2 - 0.5)
    )
    found = kit.run(w.world(), halfway, policy=own).reliability["top_1"]
    assert (found.claimed, found.brier_skill) == (None, None) and 0.0 < found.base_rate < 1.0
    assert "of which no skill is told" in mixture_sentence(found)
    asked = kit.run(w.world(), halfway, policy=own, prior=0.0).reliability["top_1"]
    assert asked.brier == found.brier and asked.brier_skill is not None
    assert "no skill" not in mixture_sentence(asked)


def test_a_promise_is_read_from_the_section_that_was_fitted_alone():
    policy = promising()
    found = promise_of(policy, "bm25")
    assert found.unanswerable == 0.5 and not found.stated and found.answerable.observed == 0.58
    assert (found.skipped.count, found.skipped.n, found.refused_unanswerable) == (0, 60, None)
    assert promise_of(policy, "hybrid") is None
    assert promise_of(Policy.default(), "hybrid") is None
    assert json.loads(json.dumps(dict(policy.provenance)))  # as a file holds it
    assert np.isclose(found.skipped.share, 0.0)
