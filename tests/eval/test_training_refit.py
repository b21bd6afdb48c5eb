"""The policy's order during training: fitted weights, and the metric that judges them."""

from dataclasses import replace

import ir_measures
import numpy as np
import pytest
from ir_measures import nDCG

from rankgate.decide.signals import compute_signals
from rankgate.errors import InputError
from rankgate.types import Candidate
from rankgate_eval.train.looks import (
    DevSet,
    JudgedList,
    ListwiseOrder,
    fit_order,
    judge,
    list_features,
    ndcg_at_10,
)


def judged(relevant, *, corpus="c", query="q", dense=None, bm25=None, gold=None):
    n = len(relevant)
    dense = np.linspace(0.9, 0.1, n) if dense is None else dense
    bm25 = np.linspace(9.0, 1.0, n) if bm25 is None else bm25
    candidates = tuple(
        Candidate(id=str(i), text=f"t{i}", rank=i + 1, dense=float(dense[i]), bm25=float(bm25[i]))
        for i in range(n)
    )
    return JudgedList(
        corpus=corpus,
        query_id=query,
        group=query,
        query="words",
        candidates=candidates,
        signals=compute_signals("words", candidates),
        relevant=np.array(relevant, dtype=bool),
        gold=sum(relevant) if gold is None else gold,
    )


def world(n=60, *, informative=True, seed=0, corpus="c"):
    """Questions whose scorer knows the answer, or knows nothing."""
    rng = np.random.default_rng(seed)
    lists, raw = [], []
    for i in range(n):
        relevant = np.zeros(10, dtype=bool)
        relevant[rng.integers(10)] = True
        lists.append(
            judged(relevant, corpus=corpus, query=f"{corpus}{i}", dense=rng.random(10),
                   bm25=rng.random(10) * 9)
        )  # fmt: skip
        noise = rng.normal(size=10)
        raw.append((noise + (3.0 * relevant if informative else 0.0)).astype(np.float32))
    return lists, raw


def influence(order, lists, raw):
    """How far the raw score moves the logits (its two features go together)."""
    only = ListwiseOrder(weights={n: w for n, w in order.weights.items() if n.startswith("raw")})
    return np.mean([only.logits(j, r).std() for j, r in zip(lists, raw, strict=True)])


def test_a_scorer_that_knows_gets_the_weight_and_one_that_does_not_gets_none():
    lists, raw = world()
    good = fit_order(lists, raw)
    blind_lists, blind_raw = world(informative=False)
    blind = fit_order(blind_lists, blind_raw)
    assert influence(good, lists, raw) > 1.5
    assert influence(blind, blind_lists, blind_raw) < 0.5
    other, other_raw = world(seed=1)
    quality = np.mean(
        [ndcg_at_10(good.logits(j, r), j) for j, r in zip(other, other_raw, strict=True)]
    )
    plain = fit_order(lists, None)
    without = np.mean([ndcg_at_10(plain.logits(j, None), j) for j in other])
    assert quality > without + 0.2
    assert not any(name.startswith("raw") for name in plain.weights)


def test_the_fit_is_the_minimum_of_the_stated_loss():
    from scipy.optimize import minimize

    first, raw_first = world(30)
    second, raw_second = world(90, seed=2, corpus="d")
    lists, raw = first + second, raw_first + raw_second
    fitted = fit_order(lists, raw)
    names = list(fitted.weights)
    matrices = [
        np.stack([list_features(j.candidates, r)[n] for n in names], axis=1)
        for j, r in zip(lists, raw, strict=True)
    ]
    scale = np.concatenate(matrices).std(0)

    def loss(w):
        total = 0.0025 * w @ w
        for x, j in zip(matrices, lists, strict=True):
            s = (x / scale) @ w
            share = 0.5 / (30 if j.corpus == "c" else 90)  # corpora weigh the same
            total -= share * (s[j.relevant][0] - np.log(np.exp(s).sum()))
        return total

    best = minimize(loss, np.zeros(len(names)), tol=1e-10).x / scale
    assert [fitted.weights[n] for n in names] == pytest.approx(best, abs=2e-2)


def test_a_feature_that_never_varies_does_no_harm():
    lists = [judged([0, 1, 0, 0], dense=[0.5] * 4, query=f"q{i}") for i in range(5)]
    fitted = fit_order(lists, [np.array([0, 1, 0, 0], dtype=np.float32)] * 5)
    assert all(np.isfinite(w) for w in fitted.weights.values())
    assert np.argmax(fitted.logits(lists[0], np.array([0, 1, 0, 0], dtype=np.float32))) == 1


def test_nothing_relevant_to_fit_on_is_an_error():
    with pytest.raises(InputError, match="no question has a relevant passage"):
        fit_order([judged([0, 0], gold=1)], None)
    with pytest.raises(InputError, match="kept back"):
        DevSet(
            fit=(judged([0, 0], gold=1),),
            choose=(judged([1, 0]),),
            decide=(judged([1, 0], query="r"),),
        )


def test_what_chose_is_not_what_judges():
    fit, one, other = (judged([1, 0], query=name) for name in "fcd")
    for choose, decide in (((), (one,)), ((one,), ())):
        with pytest.raises(InputError, match="both halves need some"):
            DevSet(fit=(fit,), choose=choose, decide=decide)
    same = replace(other, group=one.group)
    with pytest.raises(InputError, match="stand in both halves of dev"):
        DevSet(fit=(fit,), choose=(one,), decide=(same,))
    dev = DevSet(fit=(fit,), choose=(one,), decide=(other,))
    asked = []

    def score(query, texts):
        asked.append(len(texts))
        return np.zeros(len(texts), dtype=np.float32)

    assert set(dev.look(score).per_query) == {("c", "c")}
    assert set(dev.look(score, deciding=True).per_query) == {("c", "d")}


@pytest.mark.parametrize("seed", range(5))
def test_ndcg_is_that_of_trec_eval(seed):
    rng = np.random.default_rng(seed)
    j = judged(rng.random(30) < 0.3, gold=12)
    logits = rng.permutation(30).astype(float)
    run = {"q": {str(i): float(v) for i, v in enumerate(logits)}}
    missing = {f"missing{i}": 1 for i in range(12 - int(j.relevant.sum()))}
    qrels = {"q": {str(i): int(r) for i, r in enumerate(j.relevant)} | missing}
    (expected,) = ir_measures.iter_calc([nDCG @ 10], qrels, run)
    assert ndcg_at_10(logits, j) == pytest.approx(expected.value, abs=1e-9)


def test_ties_go_by_first_stage_rank_and_nothing_found_is_zero():
    j = judged([1, 0, 0])
    assert ndcg_at_10(np.zeros(3), j) == 1.0
    assert ndcg_at_10(np.zeros(3), judged([0, 0, 0], gold=3)) == 0.0
    with pytest.raises(InputError):
        ndcg_at_10(np.zeros(2), replace(j, gold=0))


def test_a_look_judges_the_fitted_order_and_not_the_raw_score():
    """A scorer that is exactly wrong is turned round by the fit."""
    lists, raw = world()
    wrong = [-r for r in raw]
    look = judge(lists[:30], lists[30:], wrong)
    assert look.ndcg == pytest.approx(judge(lists[:30], lists[30:], raw).ndcg, abs=0.05)
    raw_order = np.mean([ndcg_at_10(w.astype(float), j) for w, j in zip(wrong, lists, strict=True)])
    assert look.ndcg > raw_order + 0.4
    assert look.by_corpus == {"c": pytest.approx(look.ndcg)}
    assert len(look.per_query) == 30 == len(look.first_stage_per_query)


def test_an_order_is_a_sum_of_named_features():
    j = judged([1, 0, 0])
    only = ListwiseOrder(weights={"dense_gap": 2.0})
    assert only.logits(j, None) == pytest.approx(2.0 * np.array([0.0, -0.4, -0.8]))
