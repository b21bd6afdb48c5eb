"""Properties of gate, relevance model, floor, policy files and fusion that hold for all inputs."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rankgate import Path, Policy, Reranker, Status
from rankgate.decide.floor import Floor
from rankgate.decide.gate import Action, Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic, sigmoid
from rankgate.decide.relevance import FEATURE_NAMES, RelevanceModel, relevance_features
from rankgate.decide.section import Section
from rankgate.decide.signals import Signals, compute_signals
from rankgate.errors import PolicyError
from rankgate.retrieve.fusion import Fusion, reciprocal_rank_fusion, weighted_fusion
from rankgate.testing import FakeScorer, candidates_of
from rankgate.types import Dropped, FirstStageKind

quick = settings(max_examples=50, deadline=None)
cosine = st.floats(-1, 1)
bm25 = st.floats(0, 60)
probability = st.floats(0, 1)
number = st.floats(-1e6, 1e6)


@st.composite
def candidate_lists(draw, min_size=0):
    n = draw(st.integers(min_size, 15))
    dense = draw(st.none() | st.lists(cosine, min_size=n, max_size=n))
    sparse = draw(st.none() | st.lists(bm25, min_size=n, max_size=n))
    texts = draw(st.lists(st.sampled_from(["red", "cat", "red cat", ""]), min_size=n, max_size=n))
    return candidates_of(texts, dense=dense, bm25=sparse)


# Gate.


@quick
@given(
    candidates=candidate_lists(),
    query=st.text(max_size=30),
    remaining=st.none() | st.floats(0, 1e4),
    broken=st.booleans(),
)
def test_signals_and_gate_are_defined_for_everything(candidates, query, remaining, broken):
    signals = compute_signals(query, candidates, remaining_ms=remaining, breaker_open=broken)
    for name, value in signals.values().items():
        assert value is None or math.isfinite(value), name
        if value is not None and ("entropy" in name or "overlap" in name or "share" in name):
            assert 0.0 <= value <= 1.0, name
    three = Rule(name="r", conditions=(Condition(signal="candidates", op=">=", value=3),))
    model = Logistic(features=(Feature(name="dense_top1", weight=-3.0),))
    gates = [Gate(), Gate(rules=(three,)), Gate(model=model, threshold=0.5)]
    for gate in gates:
        for may_skip in (True, False):
            decision = gate.decide(signals, may_skip=may_skip)
            assert decision.reason
            assert decision.forced <= (decision.action is Action.SKIP)
            if not candidates:
                assert decision.reason == "no_candidates"
            possible = candidates and signals.query_words and not broken and remaining != 0
            if possible and not may_skip:
                assert decision.action is Action.RERANK


@quick
@given(weight=st.floats(-20, 20), value=cosine, a=probability, b=probability)
def test_a_higher_threshold_never_skips_less(weight, value, a, b):
    model = Logistic(features=(Feature(name="dense_top1", weight=weight),))
    signals = Signals(candidates=5, query_words=3, dense_top1=value)
    low, high = sorted((a, b))
    decisions = [Gate(model=model, threshold=t).decide(signals) for t in (low, high)]
    skipped = [d.action is Action.SKIP for d in decisions]
    assert skipped[0] <= skipped[1]
    for t, decision in zip((low, high), decisions, strict=True):
        assert (decision.action is Action.SKIP) == (decision.harm <= t)


@quick
@given(missing=st.sampled_from(["dense_top1", "bm25_entropy", "overlap_10"]))
def test_a_fitted_gate_never_skips_on_what_it_cannot_know(missing):
    model = Logistic(features=(Feature(name=missing, weight=-100.0),), intercept=-100.0)
    decision = Gate(model=model, threshold=1.0).decide(Signals(candidates=5, query_words=3))
    assert (decision.action, decision.reason) == (Action.RERANK, "signals_missing")


# Relevance model and floor.


@quick
@given(a=number, b=number)
def test_the_sigmoid_is_a_probability_and_rises(a, b):
    low, high = sorted((a, b))
    assert 0.0 <= sigmoid(low) <= sigmoid(high) <= 1.0
    assert sigmoid(a) + sigmoid(-a) == pytest.approx(1.0)


@quick
@given(candidates=candidate_lists(min_size=1), data=st.data())
def test_features_are_finite_and_move_with_their_candidates(candidates, data):
    n = len(candidates)
    signals = compute_signals("red cat", candidates)
    columns = relevance_features(candidates, signals)
    assert set(columns) <= FEATURE_NAMES
    for name, column in columns.items():
        assert column.shape == (n,) and np.isfinite(column).all(), name
    order = data.draw(st.permutations(range(n)))
    moved = relevance_features([candidates[i] for i in order], signals)
    for name, column in columns.items():
        np.testing.assert_allclose(moved[name], column[list(order)], atol=1e-6, err_msg=name)


@st.composite
def models(draw, names=None, scale="fake"):
    names = sorted(FEATURE_NAMES) if names is None else names
    chosen = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    features = tuple(
        Feature(
            name=n,
            weight=draw(st.floats(-5, 5)),
            mean=draw(st.floats(-3, 3)),
            scale=draw(st.floats(0.1, 9)),
        )
        for n in chosen
    )
    return RelevanceModel(
        model=Logistic(features=features, intercept=draw(st.floats(-4, 4))), scale=scale
    )


FIRST_STAGE_NAMES = sorted(n for n in FEATURE_NAMES if "raw" not in n)
floors = st.builds(Floor, refuse_below=st.none() | probability, drop_below=st.none() | probability)


@settings(max_examples=100, deadline=None)
@given(
    candidates=candidate_lists(),
    model=st.none() | models(),
    first=st.none() | models(FIRST_STAGE_NAMES, scale=None),
    floor=floors,
    force=st.sampled_from([None, Action.SKIP, Action.RERANK]),
    top_n=st.integers(1, 6),
)
def test_order_and_floor_never_disagree(candidates, model, first, floor, force, top_n):
    assume(not floor.active or model is not None or first is not None)
    policy = Policy.unfitted()
    for kind in FirstStageKind:
        policy = policy.with_section(kind, reranked=model, first_stage=first, floor=floor)
    outcome = Reranker(FakeScorer(), policy=policy).rerank(
        "red cat", candidates, top_n, force=force
    )
    passages = outcome.passages
    # Every candidate exactly once, with its own place in the input.
    assert sorted(p.index for p in passages) == list(range(len(candidates)))
    assert all(p.candidate is candidates[p.index] for p in passages)
    assert [p.rank for p in passages] == list(range(1, len(candidates) + 1))
    known = [p for p in passages if p.logit is not None]
    assert all(p.relevance_score == sigmoid(p.logit) for p in known)
    # A model that knows the passages' words alone says how likely they are, and orders nothing.
    orders = first is None or first.orders or outcome.path is Path.RERANKED
    if len(known) == len(passages) and orders:
        # One logit orders: nobody stands behind somebody with a smaller one.
        assert [p.logit for p in passages] == sorted((p.logit for p in passages), reverse=True)
    assert len(outcome.kept) <= top_n
    best = outcome.best_probability
    if outcome.status is Status.REFUSED:
        assert outcome.kept == () and best is not None
        thresholds = [t for t in (floor.refuse_below, floor.drop_below) if t is not None]
        assert best < max(thresholds)
    else:
        assert not (floor.refuse_below is not None and best is not None) or (
            best >= floor.refuse_below
        )
        for p in passages:
            below = (
                floor.drop_below is not None
                and p.relevance_score is not None
                and p.relevance_score < floor.drop_below
            )
            assert below == (p.dropped is Dropped.BELOW_FLOOR)
            beyond = p.dropped is Dropped.BEYOND_TOP_N
            assert not beyond or len(outcome.kept) == top_n


@quick
@given(threshold=probability, p=probability)
def test_the_floor_is_inclusive(threshold, p):
    floor = Floor(refuse_below=threshold, drop_below=threshold)
    assert floor.refuses(p) == floor.drops(p) == (p < threshold)
    assert not floor.refuses(threshold) and not floor.drops(threshold)
    assert not floor.refuses(None) and not floor.drops(None)


@quick
@given(bad=st.floats().filter(lambda x: not 0.0 <= x <= 1.0))
def test_no_floor_outside_of_probabilities(bad):
    with pytest.raises(PolicyError):
        Floor(refuse_below=bad)
    with pytest.raises(PolicyError):
        Floor(drop_below=bad)


# Policy files.

conditions = st.builds(
    Condition,
    signal=st.sampled_from(["dense_margin_12", "candidates", "unknown_share"]),
    op=st.sampled_from([">=", "<="]),
    value=number,
)
rules = st.builds(
    Rule,
    name=st.from_regex(r"\A[a-z][a-z0-9_]{0,9}\Z"),
    conditions=st.lists(conditions, min_size=1, max_size=3).map(tuple),
)
gates = st.builds(
    Gate,
    rules=st.lists(rules, max_size=2).map(tuple),
    veto=st.lists(st.sampled_from(["negation", "temporal"]), unique=True).map(tuple),
    min_remaining_ms=st.floats(0, 1e4),
) | st.builds(
    Gate,
    model=st.builds(
        Logistic,
        features=st.just((Feature(name="dense_top1", weight=0.5),)),
        intercept=number,
    ),
    threshold=probability,
)
sections = st.builds(
    Section,
    gate=gates,
    reranked=models(),
    first_stage=st.none() | models(FIRST_STAGE_NAMES, scale=None),
    floor=floors,
    fusion=st.builds(
        Fusion,
        method=st.sampled_from(["rrf", "weighted"]),
        rrf_k=st.floats(0.1, 1e3),
        dense_weight=st.floats(0.1, 9),
        bm25_weight=st.floats(0, 9),
    ),
    k=st.integers(1, 500),
    top_n=st.integers(1, 50),
    deadline_ms=st.none() | st.floats(11, 1e5),
)
policies = st.builds(
    Policy,
    name=st.text(min_size=1, max_size=10),
    sections=st.dictionaries(st.sampled_from(list(FirstStageKind)), sections, min_size=1),
    provenance=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)),
)


@quick
@given(policy=policies)
def test_a_policy_survives_its_file(policy):
    text = json.dumps(policy.to_dict(), allow_nan=False)
    again = Policy.from_json(text)
    assert again.to_dict() == policy.to_dict()
    assert dict(again.sections) == dict(policy.sections)
    assert again.name == policy.name and dict(again.provenance) == dict(policy.provenance)


def _places(data, path=()):
    """Paths to everything in the file that has a type of its own."""
    if path[-1:] == ("provenance",):
        return  # anything may stand in there, by design
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    else:
        return
    for key, value in items:
        if key != "provenance":
            yield (*path, key)
        yield from _places(value, (*path, key))


OTHER_TYPES = ["text", 7.5, True, None, [], {}, {"unknown": 1}, "NaN"]


def _kind(value):
    if isinstance(value, bool) or value is None:
        return str(value)
    return "number" if isinstance(value, (int, float)) else type(value).__name__


@settings(max_examples=80, deadline=None)
@given(policy=policies, data=st.data())
def test_a_value_of_another_type_is_refused(policy, data):
    plain = policy.to_dict()
    where = data.draw(st.sampled_from(sorted(_places(plain), key=str)))
    wrong = data.draw(st.sampled_from(OTHER_TYPES))
    changed = copy.deepcopy(plain)
    owner = changed
    for key in where[:-1]:
        owner = owner[key]
    assume(_kind(owner[where[-1]]) != _kind(wrong))
    # Optional parts may be null, or be given where they were null; both are valid files.
    assume(wrong is not None and owner[where[-1]] is not None)
    owner[where[-1]] = wrong
    with pytest.raises(PolicyError):
        Policy.from_dict(changed)


@quick
@given(policy=policies, data=st.data(), name=st.text(min_size=1, max_size=6))
def test_a_name_that_nobody_knows_is_refused(policy, data, name):
    plain = copy.deepcopy(policy.to_dict())
    kind = data.draw(st.sampled_from(sorted(plain["sections"])))
    owner = data.draw(
        st.sampled_from(
            [
                plain,
                plain["sections"][kind],
                plain["sections"][kind]["floor"],
                plain["sections"][kind]["gate"],
            ]
        )
    )
    assume(name not in owner and name != "$schema")
    owner[name] = 0.5
    with pytest.raises(PolicyError):
        Policy.from_dict(plain)


# Fusion.

lists = st.lists(st.lists(st.integers(0, 20), max_size=10, unique=True), min_size=1, max_size=4)
scored = st.dictionaries(st.integers(0, 20), st.floats(-5, 50), max_size=10)


@quick
@given(lists=lists, k=st.floats(1, 100))
def test_rrf_has_every_id_once_and_stays_in_its_bounds(lists, k):
    fused = reciprocal_rank_fusion(lists, k=k)
    assert {i for i, _ in fused} == {i for ids in lists for i in ids}
    assert len({i for i, _ in fused}) == len(fused)
    totals = [s for _, s in fused]
    assert totals == sorted(totals, reverse=True)
    assert all(0 < s <= len(lists) / (k + 1) + 1e-12 for s in totals)


@quick
@given(ids=st.lists(st.integers(), max_size=10, unique=True), copies=st.integers(1, 4))
def test_rrf_of_lists_that_agree_keeps_their_order(ids, copies):
    assert [i for i, _ in reciprocal_rank_fusion([ids] * copies)] == ids


@quick
@given(a=scored, b=scored, shift=st.integers(-100, 100), factor=st.sampled_from([0.5, 2.0, 4.0]))
def test_weighted_fusion_is_bounded_and_ignores_unit_and_zero_point(a, b, shift, factor):
    weights = (0.7, 0.3)
    fused = dict(weighted_fusion([a, b], weights=weights))
    assert set(fused) == set(a) | set(b)
    assert all(-1e-9 <= s <= 1.0 + 1e-9 for s in fused.values())
    assume(not a or max(a.values()) - min(a.values()) > 1e-3)
    scaled = {i: s * factor + shift for i, s in a.items()}
    again = dict(weighted_fusion([scaled, b], weights=weights))
    for i, s in fused.items():
        assert again[i] == pytest.approx(s, abs=1e-6)


@quick
@given(a=scored, b=scored)
def test_a_list_without_weight_has_no_say(a, b):
    ordered = dict(sorted(a.items(), key=lambda item: -item[1]))
    for method in ("rrf", "weighted"):
        fused = Fusion(method=method, bm25_weight=0.0).fuse(ordered, b)
        assert fused == Fusion(method=method, bm25_weight=0.0).fuse(ordered, {})
        assert {i for i, _ in fused} == set(a)
