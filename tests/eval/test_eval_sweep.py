"""`rankgate eval sweep`: the recall curve and its knee, K against latency, the budget."""

import json
import sys

import eval_world as w
import numpy as np
import pytest
from typer.testing import CliRunner
from waiting import Clock

from rankgate.cli import build_app
from rankgate.errors import InputError
from rankgate.scorers import ScorerInfo
from rankgate.testing import FakeScorer
from rankgate_eval import EvalSettings, run_sweep
from rankgate_eval.verdict.recall import find_knee


def timed(clock, function, *, seconds=0.01, name="fake"):
    def score(query, text):
        clock.now += seconds
        return function(query, text)

    return FakeScorer(score, info=ScorerInfo(id=name, scale="fake"))


def gold(query, text):
    return float(text.startswith("gold"))


def sweep(scorers, *, n=120, clock, ks=(5, 7, 10), **changes):
    data = w.world(n)
    settings = EvalSettings(depth=20, resamples=200, permutations=99, **changes)
    return run_sweep(
        data, w.stage_of(data), scorers, ks=ks, settings=settings, clock=clock
    )  # fmt: skip


def points(result):
    return {(p.scorer, p.k, p.arm): p for p in result.points}


@pytest.mark.parametrize(
    ("recall", "knee"),
    [
        ({10: 0.9, 20: 0.95, 40: 0.951, 80: 0.952}, 20),
        ({10: 0.5, 20: 0.6, 40: 0.7, 80: 0.8}, None),  # it still rises where the curve ends
        ({1: 0.5, 10: 0.505, 100: 0.509}, 1),  # flat: the first passage is as good as a hundred
        ({10: 0.8, 20: 0.801, 40: 0.87, 80: 0.871}, 40),  # a rise after a rest
        ({50: 0.90, 75: 0.93, 100: 0.93}, 75),
        ({50: 0.90, 75: 0.9, 100: 0.909}, None),  # .9 points in 0.4 doublings
        ({25: 0.945, 50: 0.95, 500: 0.99}, 25),  # 4 points in 3.3 doublings
        ({10: 0.7}, None),
    ],
)
def test_the_knee(recall, knee):
    assert find_knee(recall) == knee


def test_latency_and_quality_at_each_k():
    clock = Clock()
    found = points(sweep([timed(clock, gold)], clock=clock))
    # Every list has 7 candidates: gold and six rivals; gold stands first or last.
    assert found["fake", 7, "rerank"].ndcg.mean == 1.0
    assert found["fake", 5, "rerank"].ndcg.mean == pytest.approx(0.5 + 0.5 / 3)
    assert found["fake", 5, "rerank"].recall.mean == 0.5
    assert found["", 0, "first_stage"].ndcg.mean == pytest.approx(0.5 + 0.5 / 3)
    assert found["", 0, "first_stage"].latency_ms.p50 == 0.0
    for k, seconds in ((5, 0.05), (7, 0.07), (10, 0.07)):
        p50 = found["fake", k, "rerank"].latency_ms.p50
        assert seconds * 1000.0 <= p50 < seconds * 1000.0 + 5.0
    assert found["fake", 7, "rerank"].skip_rate == 0.0
    assert found["", 0, "tuned_first_stage"].skip_rate == 1.0


def test_the_budget_chooses():
    clock = Clock()
    slow = timed(clock, gold, seconds=0.1, name="slow")
    fast = timed(clock, lambda q, t: 0.9 * gold(q, t), seconds=0.01, name="fast")
    free = sweep([slow, fast], clock=clock, ks=(5, 7))
    best, enough = free.points[free.best], free.points[free.enough]
    assert best.ndcg.mean == enough.ndcg.mean == 1.0
    assert (enough.scorer, enough.k) == ("fast", 7) == (best.scorer, best.k)
    assert best.inside is None
    none = sweep([slow], clock=clock, budget_ms=300.0)
    assert none.points[none.best].scorer == "", "only the first stage is as fast as that"
    assert points(none)["slow", 5, "rerank"].inside is False
    tight = sweep([slow, fast], clock=clock, budget_ms=100.0)
    assert tight.points[tight.best].scorer == "fast"
    names = [p.scorer for p in tight.points]
    assert names == sorted(names, key=["", "slow", "fast"].index), "in the order asked for"


class Relative(FakeScorer):
    """Scores a passage by the place it has in the list: no shorter list gets the same."""

    def _one(self, job, context):
        scores = super()._one(job, context)
        scores.values[:] += np.float32(len(job.texts))
        return scores


def test_a_scorer_that_looks_at_the_whole_list_reads_it_at_every_k():
    clock = Clock()
    relative = Relative(gold)
    result = sweep([relative], clock=clock, n=120)
    assert any("does not score each passage by itself" in note for note in result.notes)
    # 120 lists at K = 10, 5 and 7; beside them the timed ones, found to differ at 5 only.
    assert len(relative.jobs) > 120 + 120 + 100
    plain = FakeScorer(gold)
    assert sweep([plain], clock=clock, n=240).notes == ()
    assert len(plain.jobs) == 240 + 2 * 120, "deepest list once, then a sample"


def test_lists_that_were_cut_are_ordered_as_if_they_had_been_read():
    clock = Clock()
    found = points(sweep([timed(clock, gold)], clock=clock, n=240))
    assert found["fake", 7, "rerank"].ndcg.mean == 1.0
    assert found["fake", 7, "rerank"].latency_ms.n == 120


def test_wrong_sweeps():
    clock = Clock()
    with pytest.raises(InputError, match="K of at least top_n"):
        sweep([w.knowing()], clock=clock, ks=(2, 3))
    with pytest.raises(InputError, match="needs a scorer"):
        sweep([], clock=clock)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(w.SCORERS)
    sys.modules.pop("mine", None)
    w.write_beir(tmp_path / "data", w.world(40))
    common = ["eval", "sweep", "data", "--first-stage", "bm25", "--scorer", "mine:knowing",
              "--scorer", "mine:hating", "--k", "5", "--k", "10"]  # fmt: skip
    done = CliRunner().invoke(build_app(), [*common, "--json", "--out", "out"])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data == json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert data["format"] == "rankgate-eval-sweep" and len(data["points"]) == 2 + 2 * 2 * 2
    assert data["recall_curve"]["knee"] in {p["depth"] for p in data["recall_curve"]["points"]}
    shown = CliRunner().invoke(build_app(), common)
    assert "best" in shown.stdout and "knee at" in shown.stdout
    over = CliRunner().invoke(build_app(), [*common, "--budget-ms", "0.000001"])
    assert over.exit_code == 0
    assert CliRunner().invoke(build_app(), ["eval", "sweep", "none"]).exit_code == 2
