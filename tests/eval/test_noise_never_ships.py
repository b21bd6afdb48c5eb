"""From calibration on dev to the verdict on test: what the scorer did not do is not its credit."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rankgate_eval import evaluate

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from verdict_seeds import DEPTH, one, world

from rankgate.decide.gate import Gate
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate.policy import Policy
from rankgate.types import FirstStageKind

SUM = Logistic(
    intercept=0.0,
    features=(
        Feature(name="dense", weight=10.0),
        Feature(name="bm25_per_word", weight=0.75),
    ),
)

NEVER_HARMS = Logistic(intercept=-9.0, features=())


def judged(kind, policy=None, seed=0, n=124):
    data, lists, scorer = world(kind, seed, n)
    return evaluate(
        data,
        stage=lambda query, k: lists[query][:k],
        scorer=scorer,
        policy=policy,
        split="test",
        k=DEPTH,
        depth=DEPTH,
        resamples=400,
        permutations=999,
    )


def policy(gate):
    """Orders by the first stage's own scores on both paths; the scorer is asked for nothing."""
    section = Section(
        first_stage=RelevanceModel(model=SUM),
        reranked=RelevanceModel(model=SUM, scale="planted"),
        gate=gate,
        k=DEPTH,
    )
    return Policy(name="sum", sections={FirstStageKind.HYBRID: section})


@pytest.mark.parametrize(
    ("gate", "skips"),
    [(Gate(), 0.0), (Gate(model=Logistic(intercept=-9.0, features=()), threshold=0.5), 1.0)],
)
def test_random_numbers_beside_a_better_sum_of_the_first_stage_do_not_ship(gate, skips):
    """It said SHIP BEHIND THE GATE, skipped 100%: the sum is better than any fusion."""
    found = judged("noise", policy(gate), n=300)
    assert found.differences["policy-first_stage"]["ndcg@10"].ci[0] > 0.0
    assert found.differences["policy-skipped"]["ndcg@10"].mean == 0.0
    assert (found.verdict, found.skip_rate) == ("dont_ship", skips)


def test_a_scorer_that_knows_a_little_ships_on_what_it_adds_to_that_sum():
    found = one("good", 0, 300)
    assert found["verdict"] == "ship"
    assert all(0.05 < gain < 0.15 for gain in found["gain"].values())


def test_the_tuned_baseline_finds_the_sum_as_well():
    found = judged("noise", policy(Gate()), n=300)
    assert "dense" in found.made.fusions[0] and "bm25_per_word" in found.made.fusions[0]
    tuned, first = (
        found.arms[a].metrics["ndcg@10"].mean for a in ("tuned_first_stage", "first_stage")
    )
    assert tuned > first + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noise", "equal", "harmful"])
def test_calibrated_on_dev_and_judged_on_test_it_never_ships(kind):
    shipped = [
        seed for seed in range(20) if str(one(kind, seed, 124)["verdict"]).startswith("ship")
    ]
    assert shipped == []


@pytest.mark.parametrize("kind", ["bm25", "dense"])
def test_one_score_that_orders_better_than_the_list_came_is_a_baseline_too(kind):
    """Fusions need both scores; without them nothing was tried, and noise shipped."""
    data, lists, scorer = world("noise", 0, 300)
    rng = np.random.default_rng(7)
    shuffled = {}
    for query, found in lists.items():
        order = rng.permutation(len(found))
        shuffled[query] = [
            replace(found[i], rank=r, **{"dense" if kind == "bm25" else "bm25": None})
            for r, i in enumerate(order.tolist(), start=1)
        ]
    name = "bm25_per_word" if kind == "bm25" else "dense"
    by = Logistic(
        intercept=0.0,
        features=(Feature(name=name, weight=2.0), Feature(name="raw", weight=1e-6)),
    )
    section = Section(reranked=RelevanceModel(model=by, scale="planted"), k=DEPTH)
    found = evaluate(
        data,
        stage=lambda query, k: shuffled[query][:k],
        scorer=scorer,
        policy=Policy(name="one", sections={FirstStageKind(kind): section}),
        split="test",
        k=DEPTH,
        depth=DEPTH,
        resamples=400,
        permutations=999,
    )
    assert found.differences["policy-first_stage"]["ndcg@10"].ci[0] > 0.1
    assert found.verdict == "dont_ship" and found.baseline == "tuned_first_stage"
