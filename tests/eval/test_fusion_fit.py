"""Fitting the fusion on the candidates' own scores."""

import numpy as np
import pytest

from rankgate.decide.signals import compute_signals
from rankgate.errors import InputError
from rankgate.retrieve import Fusion
from rankgate.scorers import Scores
from rankgate.types import Candidate
from rankgate_eval.run.collect import FirstStageResult
from rankgate_eval.run.fusion_fit import (
    FUSION_GRID,
    FittedSum,
    crossfit_fusion,
    fit_fusion,
    order_by_fusion,
)
from rankgate_eval.run.pool import Pooled
from rankgate_eval.stats.ndcg import ndcg


def pooled(query_id, dense, bm25):
    candidates = tuple(
        Candidate(
            id=f"{query_id}-{i}",
            text="t",
            rank=i + 1,
            dense=None if dense is None else float(dense[i]),
            bm25=None if bm25 is None else float(bm25[i]),
        )
        for i in range(len(dense if dense is not None else bm25))
    )
    return Pooled(
        found=FirstStageResult(query_id=query_id, query=query_id, candidates=candidates, ms=1.0),
        candidates=candidates,
        scores=Scores.full(np.zeros(len(candidates)), "none"),
        signals=compute_signals(query_id, candidates),
        scorer_ms=0.0,
    )


def drawn(seed, *, dense_knows, bm25_knows, queries=80):
    """Pools in which the last candidate is relevant, and each list knows it or does not."""
    rng = np.random.default_rng(seed)
    pools, relevant = {}, {}
    for i in range(queries):
        dense = rng.normal(size=20) * 0.1
        bm25 = np.abs(rng.normal(size=20))
        dense[19] += 0.3 * dense_knows
        bm25[19] += 3.0 * bm25_knows
        pools[f"q{i}"] = pooled(f"q{i}", dense, bm25)
        relevant[f"q{i}"] = [f"q{i}-19"]
    return pools, relevant


def groups_of(pools):
    return {q: f"g{int(q[1:]) // 2}" for q in pools}


def test_the_order_is_the_one_that_retrieval_would_fuse():
    pool = pooled("q", [0.9, 0.1, 0.5, 0.2], [1.0, 3.0, 0.0, 2.0])
    for fusion in FUSION_GRID:
        dense = {"q-0": 0.9, "q-2": 0.5, "q-3": 0.2, "q-1": 0.1}
        bm25 = {"q-1": 3.0, "q-3": 2.0, "q-0": 1.0}
        wanted = dict(fusion.fuse(dense, bm25))
        found = order_by_fusion(pool.candidates, fusion)
        assert sorted(found) == ["q-0", "q-1", "q-2", "q-3"]
        scores = [wanted.get(i, -1.0) for i in found]
        assert scores == sorted(scores, reverse=True)


def test_one_list_alone_and_ties_by_first_stage_rank():
    pool = pooled("q", [0.1, 0.5, 0.5], [0.0, 0.0, 2.0])
    assert order_by_fusion(pool.candidates, Fusion(bm25_weight=0.0)) == ("q-1", "q-2", "q-0")
    assert order_by_fusion(pool.candidates, Fusion(dense_weight=0.0)) == ("q-2", "q-0", "q-1")


def test_a_missing_score_is_named():
    pool = pooled("q", None, [1.0])
    with pytest.raises(InputError, match="'q-0' has no dense score"):
        order_by_fusion(pool.candidates, Fusion())
    assert order_by_fusion(pool.candidates, Fusion(dense_weight=0.0)) == ("q-0",)


def test_a_list_that_knows_nothing_is_taken_out():
    pools, relevant = drawn(0, dense_knows=1.0, bm25_knows=0.0)
    fit = fit_fusion(pools, relevant, groups=groups_of(pools))
    assert fit.fusion.bm25_weight < fit.fusion.dense_weight
    assert fit.ndcg10 > fit.plain_ndcg10 + fit.standard_error
    assert "beats plain RRF" in fit.note


def test_plain_rrf_stays_where_nothing_is_better_beyond_the_error():
    stays = []
    for seed in range(10):
        pools, relevant = drawn(seed, dense_knows=0.0, bm25_knows=0.0, queries=30)
        fit = fit_fusion(pools, relevant)
        stays.append(fit.fusion == Fusion())
        assert (fit.ndcg10 == fit.plain_ndcg10) == stays[-1]
    # Among two dozen there is often a lucky one; the rule is no test, cross-fitting is.
    assert any(stays)


def test_cross_fitting_does_not_let_a_query_choose_for_itself():
    pools, relevant = drawn(1, dense_knows=1.0, bm25_knows=1.0, queries=40)
    groups = groups_of(pools)
    found = crossfit_fusion(pools, relevant, groups, folds=4, seed=2)
    assert found.unit == "group" and len(found.fusions) == 4
    # Another truth for one group: its own order must not change.
    q = "q0"
    moved = {**relevant, "q0": ["q0-3"], "q1": ["q1-3"]}
    again = crossfit_fusion(pools, moved, groups, folds=4, seed=2)
    assert again.orders[q] == found.orders[q]


def test_unjudged_queries_are_ordered_by_what_all_choose():
    pools, relevant = drawn(0, dense_knows=1.0, bm25_knows=0.0)
    extra = pooled("x", np.linspace(0.1, 0.9, 20), np.linspace(9.0, 1.0, 20))
    found = crossfit_fusion({**pools, "x": extra}, relevant, groups_of(pools))
    whole = fit_fusion(pools, relevant, groups=groups_of(pools)).fusion
    assert found.orders["x"] == order_by_fusion(extra.candidates, whole)


@pytest.mark.parametrize(
    ("dense", "bm25", "lacks"), [([0.2, 0.1], None, "BM25"), (None, [2.0, 1.0], "dense")]
)
def test_a_first_stage_without_both_scores_has_nothing_to_tune(dense, bm25, lacks):
    pools = {"q0": pooled("q0", dense, bm25), "q1": pooled("q1", dense, bm25)}
    relevant = {"q0": ["q0-1"], "q1": ["q1-1"]}
    found = crossfit_fusion(pools, relevant, {})
    assert found.orders["q0"] == ("q0-0", "q0-1") and found.fusions == ()
    assert f"no {lacks} score" in found.note
    fit = fit_fusion(pools, relevant)
    assert fit.fusion is None and fit.ndcg10 == pytest.approx(1 / np.log2(3))


def test_a_single_document_group_does_not_forbid_tuning():
    pools, relevant = drawn(0, dense_knows=1.0, bm25_knows=0.0)
    one = dict.fromkeys(pools, "g")
    assert fit_fusion(pools, relevant, groups=one).fusion != Fusion()
    assert crossfit_fusion(pools, relevant, one).unit == "query"


def test_nothing_judged():
    pools, _ = drawn(0, dense_knows=1.0, bm25_knows=0.0, queries=3)
    with pytest.raises(InputError, match="no query has a relevant passage"):
        fit_fusion(pools, {})
    assert crossfit_fusion(pools, {}, {}).note.startswith("0 judged queries")


def test_a_sum_of_the_scores_that_no_fusion_reaches_is_tried_too():
    """A policy's relevance model is such a sum: against fusions alone it needed no scorer."""
    rng = np.random.default_rng(5)
    pools, relevant = {}, {}
    for i in range(80):
        # The cosine decides where it differs by a hundredth of BM25's spread in every list.
        truth = rng.normal(0.0, 1.0, 20)
        bm25 = rng.normal(0.0, 1.0, 20) * float(rng.choice([0.5, 20.0])) + 50.0
        dense = (truth - 0.03 * bm25) / 10.0
        pools[f"q{i}"] = pooled(f"q{i}", dense, bm25)
        relevant[f"q{i}"] = [f"q{i}-{int(np.argmax(truth))}"]
    found = crossfit_fusion(pools, relevant, groups_of(pools))
    assert any(isinstance(by, FittedSum) for by in found.fusions)
    fused = fit_fusion(pools, relevant).ndcg10
    reached = np.mean([ndcg([p in relevant[q] for p in found.orders[q]], 1) for q in pools])
    assert reached > fused + 0.05
