"""The gate: every reason, missing signals, and that it never skips what the floor needs."""

import pytest

from rankgate import Action, Gate
from rankgate.decide.gate import Condition, Rule
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.signals import Signals, compute_signals
from rankgate.errors import PolicyError
from rankgate.testing import candidates_of

CLEAR = Gate(
    rules=(
        Rule(
            name="clear_winner",
            conditions=(Condition(signal="dense_margin_12", op=">=", value=0.1),),
        ),
    ),
    veto=("negation",),
)


def signals(query="solar flares", dense=(0.9, 0.5, 0.4), **changes):
    found = compute_signals(
        query,
        candidates_of(["a", "b", "c"][: len(dense)], dense=list(dense), bm25=[3.0] * len(dense)),
    )
    return Signals(**{**{f: getattr(found, f) for f in Signals.__slots__}, **changes})


@pytest.mark.parametrize(
    ("given", "action", "reason", "forced"),
    [
        (signals(), Action.SKIP, "clear_winner", False),
        (signals(dense=(0.9, 0.81, 0.4)), Action.RERANK, "uncertain", False),
        (signals("which planets have no moons"), Action.RERANK, "veto_negation", False),
        (signals(dense=(0.9,)), Action.SKIP, "single_candidate", False),
        (signals(candidates=0), Action.SKIP, "no_candidates", False),
        (signals("?!"), Action.SKIP, "empty_query", False),
        (signals(breaker_open=True), Action.SKIP, "breaker_open", True),
        (signals(remaining_ms=0.0), Action.SKIP, "no_time", True),
        (signals(dense_margin_12=None), Action.RERANK, "signals_missing", False),
    ],
)
def test_each_reason(given, action, reason, forced):
    decision = CLEAR.decide(given)
    assert (decision.action, decision.reason, decision.forced) == (action, reason, forced)


def test_a_threshold_is_inclusive():
    assert CLEAR.decide(signals(dense_margin_12=0.1)).action is Action.SKIP
    assert CLEAR.decide(signals(dense_margin_12=0.0999)).action is Action.RERANK


def test_without_a_first_stage_model_the_gate_may_not_skip():
    decision = CLEAR.decide(signals(), may_skip=False)
    assert (decision.action, decision.reason) == (Action.RERANK, "floor_needs_score")


def test_no_time_wins_over_everything_that_would_rerank():
    gate = Gate(min_remaining_ms=50.0)
    assert gate.decide(signals(remaining_ms=49.0)).reason == "no_time"
    assert gate.decide(signals(remaining_ms=50.0)).reason == "no_gate"


def test_a_fitted_gate_skips_at_its_threshold_and_ignores_vetoes():
    model = Logistic(intercept=0.0, features=(Feature(name="dense_margin_12", weight=-10.0),))
    gate = Gate(model=model, threshold=0.5, veto=("negation",))
    at = gate.decide(signals("no moons", dense_margin_12=0.0))
    assert at.action is Action.SKIP and at.harm == 0.5 and at.reason == "low_harm"
    assert gate.decide(signals(dense_margin_12=-0.01)).reason == "worth_it"
    missing = gate.decide(signals(dense_margin_12=None))
    assert missing.reason == "signals_missing" and "dense_margin_12" in missing.detail


@pytest.mark.parametrize(
    "build",
    [
        lambda: Condition(signal="dense_margn", op=">=", value=0.1),
        lambda: Condition(signal="dense_top1", op="==", value=0.1),
        lambda: Rule(name="all", conditions=()),
        lambda: Gate(model=Logistic(features=()), threshold=None),
        lambda: Gate(model=Logistic(features=()), threshold=1.2),
        lambda: Gate(
            model=Logistic(features=(Feature(name="rrf_margin", weight=1.0),)), threshold=0.5
        ),
        lambda: Gate(veto=("mood",)),
        lambda: Gate(rules=CLEAR.rules, model=Logistic(features=()), threshold=0.5),
    ],
)
def test_a_gate_that_cannot_work_is_refused(build):
    with pytest.raises(PolicyError):
        build()
