"""Planted truths through the whole evaluation: the right verdict, and how seldom a wrong one.

What is stated, for 120 queries about 60 items:

- a perfect, a harmful, a gated reranker, one that only harms misspelt questions, and one with
  nothing to lift get their verdict in at least 95 of 100 data sets, and none of those that must
  not ship ever ships;
- a reranker as good as the first stage, up to chance, ships in at most alpha / 2 of them, and so
  does one that only knows what refitted fusion weights know;
- ten queries decide nothing, however large the effect.

Twelve seeds run always, two hundred with the slow suites.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import planted
import pytest

from rankgate_eval.evaluation import evaluate
from rankgate_eval.run.standards import Standards

ROOT = Path(__file__).resolve().parents[2]
SEEDS = [12, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
SHIPS = ("ship", "ship_behind_gate")
PROGRAM = str(Path(sys.executable).parent / "rankgate")


@functools.cache
def result(kind, seed, **changes):
    """The whole evaluation of one planted data set; fewer draws than the command makes."""
    plant = planted.plant(kind, seed)
    return evaluate(
        plant.data,
        stage=plant.stage,
        scorer=plant.scorer,
        policy=plant.policy,
        **{
            "fields": ("spelling",),
            "depth": planted.DEPTH,
            "resamples": 400,
            "permutations": 999,
            "seed": seed,
            **changes,
        },
    )


def verdicts(kind, seeds):
    return Counter(result(kind, seed).verdict for seed in range(seeds))


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    "kind", ["perfect", "harmful", "harms typos", "gated", "no headroom", "ten queries"]
)
def test_what_is_planted_gets_its_verdict(kind, seeds):
    found = verdicts(kind, seeds)
    (right,) = planted.plant(kind, 0).right
    assert found[right] >= 0.95 * seeds, found
    if right not in SHIPS:
        assert not any(found[call] for call in SHIPS), found


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("kind", ["null", "slight tuning"])
def test_what_gains_nothing_ships_no_oftener_than_alpha_over_two(kind, seeds):
    found = verdicts(kind, seeds)
    share = Standards().alpha / 2.0
    allowed = share + 3.0 * (share * (1.0 - share) / seeds) ** 0.5
    assert sum(found[call] for call in SHIPS) / seeds <= allowed, found


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_gain_of_fusion_weights_is_never_credited_to_the_reranker(seeds):
    found = verdicts("only tuning", seeds)
    assert not any(found[call] for call in SHIPS), found
    # Against the untuned first stage it looks like a large and certain gain.
    for seed in range(min(seeds, 12)):
        seen = result("only tuning", seed).differences
        naive, honest = (
            seen[f"policy-{arm}"]["ndcg@10"] for arm in ("first_stage", "tuned_first_stage")
        )
        assert naive.ci[0] > 0.02 and naive.p <= 0.01
        assert abs(honest.mean) < naive.mean / 2.0


def test_it_is_the_stratum_alone_that_holds_the_harm_back():
    """Where no loss of a stratum counts, the reranker that harms misspelt questions ships."""
    careless = Standards(stratum_margin=1.0)
    found = Counter(result("harms typos", s, standards=careless).verdict for s in range(12))
    assert found["ship"] >= 11, found


def test_the_harmed_questions_are_named_with_examples():
    for seed in range(12):
        found = result("harms typos", seed)
        rows = {f"{r.dimension}={r.name}": r for r in found.strata.rows}
        assert rows["spelling=bad"].regression and not rows["spelling=good"].regression, seed
        bad = planted.plant("harms typos", seed).data.fields
        assert all(bad[q]["spelling"] == "bad" for q in rows["spelling=bad"].losers)
        assert any("spelling = bad" in reason for reason in found.reasons)


def test_behind_the_gate_the_same_reranker_keeps_its_gain_and_does_no_harm():
    for seed in range(12):
        gated = result("gated", seed)
        assert gated.skip_rate == pytest.approx(planted.TYPO_SHARE)
        assert not any(row.regression for row in gated.strata.rows)
        always = gated.differences["policy-rerank"]["ndcg@10"]
        assert always.ci[0] > 0.0, "the gate is better than always reranking here"


def test_ten_queries_are_told_how_many_it_takes():
    found = result("ten queries", 0)
    assert found.queries_needed >= Standards().min_queries
    assert found.n == 10 and found.exit_code == 3


def test_planted_results_are_deterministic():
    """Times differ from run to run, nothing else does."""

    def plain(found):
        kept = found.to_dict()
        for name in ("made", "per_query"):
            kept.pop(name)
        for arm in kept["arms"].values():
            arm.pop("latency_ms")
        return kept

    again = result.__wrapped__("harms typos", 3)
    assert plain(again) == plain(result("harms typos", 3))


SYSTEM = """
import sys
sys.path.insert(0, {folder!r})
import planted
made = planted.plant({kind!r}, {seed})
stage, scorer = made.stage, made.scorer
"""


@pytest.mark.parametrize(
    ("kind", "code"),
    [("perfect", 0), ("gated", 0), ("harmful", 1), ("harms typos", 1), ("ten queries", 3)],
)
def test_the_command_says_the_same_with_its_exit_code(kind, code, tmp_path):
    plant = planted.plant(kind, 0)
    planted.write_beir(plant, tmp_path / "data")
    plant.policy.save(tmp_path / "policy.json")
    folder = str(Path(planted.__file__).parent)
    (tmp_path / "system.py").write_text(SYSTEM.format(folder=folder, kind=kind, seed=0), "utf-8")
    options = ["--system", "system:stage", "--scorer", "system:scorer", "--policy", "policy.json"]
    done = subprocess.run(
        [PROGRAM, "eval", "data", *options, "--field", "spelling", "--out", "out", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert (json.loads(done.stdout)["verdict"],) == plant.right
