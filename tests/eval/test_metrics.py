"""Metrics: parity with an independent implementation, and what must not be lost on the way."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest

from rankgate.errors import InputError
from rankgate_eval.run.metrics import (
    METRICS,
    attainable_recall,
    headroom,
    judged_queries,
    measure,
    recall_curve,
)
from rankgate_eval.stats.ndcg import ndcg


def reference(name, grades, ranking):
    """One query's metric from its definition, sharing no code with what is tested."""
    relevant = {p for p, g in grades.items() if g > 0}
    kind, _, depth = name.partition("@")
    top = ranking[: int(depth)] if depth else ranking
    hits = [p in relevant for p in top]
    if kind == "recall":
        return sum(hits) / len(relevant)
    if kind == "precision":
        return sum(hits) / int(depth)
    if kind == "judged":
        return sum(p in grades for p in top) / len(top) if top else 0.0
    if kind == "mrr":
        return next((1 / r for r, hit in enumerate(hits, 1) if hit), 0.0)
    if kind == "map":
        at = [r for r, hit in enumerate(hits, 1) if hit]
        return sum(found / r for found, r in enumerate(at, 1)) / len(relevant)
    gains = [max(0, grades.get(p, 0)) for p in top]
    ideal = sorted((g for g in grades.values() if g > 0), reverse=True)[: int(depth)]
    dcg = sum(g / math.log2(r + 1) for r, g in enumerate(gains, 1))
    return dcg / sum(g / math.log2(r + 1) for r, g in enumerate(ideal, 1))


def random_case(seed):
    """Graded and negative judgements, short, empty, missing and long lists."""
    rng = np.random.default_rng(seed)
    pool = [f"d{i}" for i in range(160)]
    qrels, rankings, ids = {}, {}, [f"q{i}" for i in rng.permutation(40)]
    for query in ids:
        judged = rng.choice(pool, size=rng.integers(1, 30), replace=False)
        qrels[query] = {str(p): int(rng.integers(-1, 4)) for p in judged}
        length = int(rng.choice([0, 1, 2, 4, 7, 50, 160]))
        if rng.random() < 0.9:
            rankings[query] = [str(p) for p in rng.permutation(pool)[:length]]
    return qrels, rankings, ids


@pytest.mark.parametrize("seed", range(8))
def test_parity_with_an_independent_implementation(seed):
    qrels, rankings, ids = random_case(seed)
    result = measure(qrels, rankings, ids)
    assert set(result.values) == set(METRICS)
    assert set(result.query_ids) | set(result.unjudged) == set(ids)
    for name in METRICS:
        expected = [reference(name, qrels[q], rankings.get(q, [])) for q in result.query_ids]
        np.testing.assert_allclose(result.values[name], expected, rtol=0, atol=1e-9, err_msg=name)


ADVERSARIAL = {
    "shorter than the cutoff": ({"a": 1, "b": 1}, ["a"]),
    "all relevant found": ({"a": 1, "b": 1}, ["b", "a"]),
    "more relevant than the cutoff": ({f"d{i}": 1 for i in range(20)}, [f"d{i}" for i in range(9)]),
    "only unjudged passages": ({"a": 1}, ["x", "y", "z"]),
    "judged as not relevant on top": ({"a": 1, "n": 0, "m": -2}, ["n", "m", "a"]),
    "relevant just outside the cutoff": ({"a": 1}, [*"bcdefghijk", "a"]),
    "grades against the order": ({"a": 3, "b": 2, "c": 1}, ["c", "b", "a"]),
    "one passage, right": ({"a": 1}, ["a"]),
    "nothing": ({"a": 1}, []),
}


@pytest.mark.parametrize("case", ADVERSARIAL)
def test_parity_on_adversarial_lists(case):
    grades, ranking = ADVERSARIAL[case]
    result = measure({"q": grades}, {"q": ranking}, ["q"])
    for name in METRICS:
        assert result.mean(name) == pytest.approx(reference(name, grades, ranking), abs=1e-9), name


IR_NAMES = {
    "ndcg@5": "nDCG@5",
    "ndcg@10": "nDCG@10",
    "mrr@10": "RR@10",
    "recall@5": "R@5",
    "recall@10": "R@10",
    "recall@50": "R@50",
    "recall@100": "R@100",
    "precision@5": "P@5",
    "map": "AP",
    "judged@10": "Judged@10",
}


@pytest.mark.parametrize("seed", range(8))
def test_parity_with_trec_eval(seed):
    """Orders as scores n, n - 1, ..., so that its tie-breaking has nothing to break."""
    qrels, rankings, ids = random_case(seed)
    ours = measure(qrels, rankings, ids)
    grades = {q: {p: max(0, g) for p, g in qrels[q].items()} for q in ours.query_ids}
    run = {
        q: {p: float(len(r) - i) for i, p in enumerate(r)}
        for q, r in rankings.items()
        if r and q in grades
    }
    assert set(IR_NAMES) == set(METRICS)
    for name, theirs in IR_NAMES.items():
        found = ir_measures.iter_calc([ir_measures.parse_measure(theirs)], grades, run)
        rows = {row.query_id: row.value for row in found}
        expected = [rows.get(q, 0.0) for q in ours.query_ids]
        np.testing.assert_allclose(ours.values[name], expected, rtol=0, atol=1e-9, err_msg=name)


def test_ndcg_of_counts_is_that_of_equal_gains():
    rng = np.random.default_rng(5)
    for _ in range(50):
        gains = (rng.random(rng.integers(0, 30)) < 0.3).astype(float)
        gold = int(gains.sum()) + int(rng.integers(0, 20))
        for top in (1, 5, 10, 100):
            assert ndcg(gains, gold, top=top) == pytest.approx(
                ndcg(gains, np.ones(gold), top=top), abs=1e-15
            )
    assert ndcg([0.0, 1.0], 1) == pytest.approx(1.0 / math.log2(3))
    assert ndcg([], 3) == ndcg([1.0], 0) == ndcg([], []) == 0.0


def test_a_ranking_is_read_as_an_order_whatever_its_ids():
    """Ids that trec_eval's own tie-breaking would turn round."""
    grades = {"q": {"a": 1}}
    assert measure(grades, {"q": ["a", "z"]}, ["q"]).mean("mrr@10") == 1.0
    assert measure(grades, {"q": ["z", "a"]}, ["q"]).mean("mrr@10") == 0.5


def test_queries_without_results_count_zero_and_unjudged_ones_are_left_out():
    qrels = {"found": {"a": 1}, "empty": {"a": 1}, "absent": {"a": 1}, "none": {"a": 0}}
    result = measure(
        qrels, {"found": ["a"], "empty": [], "none": ["a"]}, ["absent", "none", "found", "empty"]
    )
    assert result.query_ids == ("absent", "found", "empty")
    assert result.missing == ("absent", "empty")
    assert result.unjudged == ("none",)
    assert result.values["ndcg@10"].tolist() == [0.0, 1.0, 0.0]
    assert result.mean("ndcg@10") == pytest.approx(1 / 3)


def test_values_are_in_the_order_asked_for_and_read_only():
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}}
    rankings = {"q1": ["a"], "q2": ["x"]}
    forward = measure(qrels, rankings, ["q1", "q2"]).column("map")
    backward = measure(qrels, rankings, ["q2", "q1"]).column("map")
    assert forward.tolist() == [1.0, 0.0] == backward[::-1].tolist()
    with pytest.raises(ValueError, match="read-only"):
        forward[0] = 0.5


def test_nothing_to_measure():
    result = measure({}, {"q": ["a"]}, ["q"])
    assert result.query_ids == () and result.unjudged == ("q",)
    with pytest.raises(InputError, match="nothing to average"):
        result.mean("map")
    all_missing = measure({"q": {"a": 1}}, {}, ["q"])
    assert all(all_missing.mean(name) == 0.0 for name in METRICS)


def test_what_cannot_be_measured_is_refused():
    qrels = {"q": {"a": 1}}
    with pytest.raises(InputError, match="unknown metric 'ndcg@7'"):
        measure(qrels, {}, ["q"], names=["ndcg@7"])
    with pytest.raises(InputError, match="'b' stands twice"):
        measure(qrels, {"q": ["b", "a", "b"]}, ["q"])
    with pytest.raises(InputError, match="query 'q' is named twice"):
        judged_queries(qrels, ["q", "q"])
    with pytest.raises(InputError, match="was not measured"):
        measure(qrels, {}, ["q"], names=["map"]).mean("ndcg@10")


def test_inputs_are_not_changed():
    qrels, rankings = {"q": {"a": 1, "b": -1}}, {"q": ["b", "a"]}
    measure(qrels, rankings, ["q"])
    assert qrels == {"q": {"a": 1, "b": -1}} and rankings == {"q": ["b", "a"]}


@pytest.mark.parametrize("seed", range(3))
def test_recall_curve_agrees_with_recall_and_never_falls(seed):
    qrels, rankings, ids = random_case(seed)
    depths = [1, 5, 10, 50, 100, 1000]
    curve = recall_curve(qrels, rankings, ids, depths)
    measured = measure(qrels, rankings, ids)
    for depth in (5, 10, 50, 100):
        np.testing.assert_allclose(
            curve[:, depths.index(depth)], measured.values[f"recall@{depth}"], atol=1e-12
        )
    assert (np.diff(curve, axis=1) >= 0).all()


def test_headroom_is_what_the_best_order_of_the_candidates_would_add():
    qrels = {"lift": {"a": 1, "b": 1}, "done": {"c": 1}, "lost": {"z": 1}, "many": {}}
    qrels["many"] = {f"m{i}": 1 for i in range(4)}
    rankings = {
        "lift": ["x", "a", "b"],  # one of two in the top two; both attainable
        "done": ["c", "x", "y"],
        "lost": ["x", "y", "w"],  # not among the candidates: no headroom
        "many": ["m0", "x", "m1", "m2"],  # two places for four relevant
    }
    room = headroom(qrels, rankings, list(qrels), k=4, top_n=2)
    assert room.query_ids == ("lift", "done", "lost", "many")
    assert room.attainable.tolist() == [1.0, 1.0, 0.0, 0.5]
    assert room.first_stage.tolist() == [0.5, 1.0, 0.0, 0.25]
    assert room.mean == pytest.approx((0.5 + 0.25) / 4)
    narrow = attainable_recall(qrels, rankings, ["lift"], k=2, top_n=2)
    assert narrow.tolist() == [0.5]
    with pytest.raises(InputError, match="at least top_n"):
        headroom(qrels, rankings, ["lift"], k=2, top_n=5)
    with pytest.raises(InputError, match="at least 1"):
        headroom(qrels, rankings, ["lift"], k=2, top_n=0)


def test_a_perfect_order_reaches_the_attainable_recall():
    qrels, rankings, ids = random_case(11)
    perfect = {q: sorted(r[:50], key=lambda p: -qrels[q].get(p, 0)) for q, r in rankings.items()}
    reached = measure(qrels, perfect, ids).values["recall@5"]
    np.testing.assert_allclose(reached, attainable_recall(qrels, rankings, ids, k=50, top_n=5))
