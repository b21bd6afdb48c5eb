"""Planted truths, from rankings to verdict: the right one, and the wrong one no oftener than said.

Every query has one relevant passage; a world is a rule for where the first stage and where the
policy put it. Documents have two queries each, so clusters matter throughout.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from rankgate_eval.result.call import Call
from rankgate_eval.run.metrics import measure
from rankgate_eval.stats.significance import compare
from rankgate_eval.stats.strata import compare_strata, stratify
from rankgate_eval.verdict.verdict import Evidence, Over, judge

SEEDS = [40, pytest.param(200, marks=pytest.mark.slow)]
LEXICON = frozenset("what is the colour of item please tell me number".split())
DEPTH = 20


@dataclass(frozen=True)
class World:
    """Ranks of the relevant passage before and after, and what kind of query it is."""

    before: np.ndarray
    after: np.ndarray
    typo: np.ndarray
    skip_rate: float = 0.0


def first_stage(rng, n, right=0.5):
    return np.where(rng.random(n) < right, 1, rng.integers(2, 16, n))


def world(kind, seed):
    rng = np.random.default_rng([seed, 31])
    n = 10 if kind == "ten queries" else 240
    typo = rng.random(n) < 0.2
    before = first_stage(rng, n)
    improved = np.where(rng.random(n) < 0.9, 1, before)
    harmed = np.where(typo, rng.integers(6, 20, n), improved)
    if kind in ("perfect", "ten queries"):
        return World(before, np.ones(n, dtype=int), typo)
    if kind == "harmful":
        return World(before, np.where(rng.random(n) < 0.4, rng.integers(2, 20, n), before), typo)
    if kind == "harms typos":
        return World(before, harmed, typo)
    if kind == "gated":
        return World(before, np.where(typo, before, harmed), typo, float(typo.mean()))
    if kind == "no headroom":
        good = first_stage(rng, n, right=0.99)
        return World(good, np.where(rng.random(n) < 0.01, 2, good), typo)
    assert kind == "useless"
    # Exchangeable with the first stage: the true difference is zero, the noise is not.
    return World(before, first_stage(rng, n), typo)


def ranking(rank):
    fillers = [f"x{i}" for i in range(DEPTH)]
    return [*fillers[: rank - 1], "gold", *fillers[rank - 1 :]]


def verdict(kind, seed, *, with_strata=True):
    seen = world(kind, seed)
    ids = [f"q{i}" for i in range(seen.before.size)]
    texts = [
        f"wht iz teh colr of itm {i}" if bad else f"what is the colour of item {i}"
        for i, bad in enumerate(seen.typo)
    ]
    documents = [f"d{i // 2}" for i in range(len(ids))]
    qrels = {q: {"gold": 1} for q in ids}
    names = ["ndcg@10", "recall@5"]
    before, after = (
        measure(qrels, {q: ranking(r) for q, r in zip(ids, ranks, strict=True)}, ids, names=names)
        for ranks in (seen.before, seen.after)
    )
    quick = {"resamples": 400, "permutations": 999, "seed": seed}
    ndcg, recall = (
        compare(before.column(name), after.column(name), documents, **quick) for name in names
    )
    over = Over(name="the tuned first stage", ndcg=ndcg, recall=recall)
    strata = (
        None
        if not with_strata
        else compare_strata(
            before.column("ndcg@10"),
            after.column("ndcg@10"),
            stratify(texts, lexicon=LEXICON),
            ids,
            documents,
            **quick,
        )
    )
    return judge(Evidence(over=(over,), top_n=5, skip_rate=seen.skip_rate, strata=strata))


def calls(kind, seeds):
    return Counter(verdict(kind, seed).call for seed in range(seeds))


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    ("kind", "right"),
    [
        ("perfect", Call.SHIP),
        ("harmful", Call.DONT_SHIP),
        ("harms typos", Call.DONT_SHIP),
        ("gated", Call.SHIP_BEHIND_GATE),
        ("no headroom", Call.DONT_SHIP),
        ("ten queries", Call.NOT_ENOUGH_DATA),
    ],
)
def test_planted_truths_get_the_right_verdict(kind, right, seeds):
    found = calls(kind, seeds)
    assert found[right] >= 0.95 * seeds, found
    # What is harmful or without use must not ship, not even in one seed of these.
    if right in (Call.DONT_SHIP, Call.NOT_ENOUGH_DATA):
        assert found[Call.SHIP] + found[Call.SHIP_BEHIND_GATE] == 0


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_useless_reranker_ships_no_oftener_than_alpha_over_two(seeds):
    found = calls("useless", seeds)
    allowed = 0.025 + 3.0 * (0.025 * 0.975 / seeds) ** 0.5
    assert (found[Call.SHIP] + found[Call.SHIP_BEHIND_GATE]) / seeds <= allowed, found


def test_it_is_the_stratum_alone_that_holds_the_harm_back():
    """Over all queries that reranker gains: without strata it would ship."""
    found = Counter(verdict("harms typos", seed, with_strata=False).call for seed in range(20))
    assert found[Call.SHIP] >= 18, found


def test_the_harmed_stratum_is_named():
    for seed in range(10):
        found = verdict("harms typos", seed)
        named = {r.key for r in found.regressions}
        assert named & {"typos=many", "question=keyword"}, seed
        assert "typos=none" not in named
        assert all(r.losers for r in found.regressions)


def test_ten_queries_are_told_how_many_it_takes():
    found = verdict("ten queries", 0)
    assert found.queries_needed is not None and found.queries_needed >= 50


def test_planted_verdicts_are_deterministic():
    assert verdict("harms typos", 3) == verdict("harms typos", 3)
