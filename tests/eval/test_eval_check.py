"""`rankgate eval check`: non-inferiority against an earlier result."""

import dataclasses
import json
import sys

import eval_world as w
import pytest
from typer.testing import CliRunner

from rankgate.cli import build_app
from rankgate.errors import InputError
from rankgate.testing import FakeScorer
from rankgate_eval import Result, compare_results, evaluate
from rankgate_eval.verdict.check import in_both

QUICK = {"resamples": 400, "permutations": 999}


def run(scorer, n=80):
    data = w.world(n)
    return evaluate(data, stage=w.stage_of(data), scorer=scorer, **QUICK)


def forgetting(*numbers):
    """Knows gold, but not that of these queries."""
    lost = tuple(f"beta{i}" for i in numbers)
    return FakeScorer(
        lambda query, text: float(text.startswith("gold") and not query.endswith(lost))
    )


@pytest.fixture(scope="module")
def baseline():
    return run(w.knowing())


def compared(baseline, result, margin=None):
    return compare_results(baseline, result, margin=margin, resamples=400, permutations=999)


def test_the_same_again_passes(baseline):
    checked = compared(baseline, run(w.knowing()))
    assert (checked.outcome, checked.exit_code, checked.moved, checked.n) == ("pass", 0, (), 80)
    assert checked.changes["ndcg@10"].mean == 0.0 and checked.warnings == ()


def test_a_harmful_change_fails_and_names_its_queries(baseline):
    checked = compared(baseline, run(w.hating()))
    assert (checked.outcome, checked.exit_code) == ("fail", 1)
    assert "ndcg@10 is worse than the baseline's" in checked.reasons[0]
    assert len(checked.moved) == 80
    assert checked.moved[0].before["ndcg@10"] == 1.0
    losses = [m.after["ndcg@10"] - m.before["ndcg@10"] for m in checked.moved]
    assert losses == sorted(losses)


def test_a_few_losses_are_open_and_a_wide_margin_lets_them_pass(baseline):
    result = run(forgetting(1, 3))
    checked = compared(baseline, result)
    assert (checked.outcome, checked.exit_code) == ("not_enough_data", 3)
    assert [m.query_id for m in checked.moved] == ["q1", "q3"]
    assert compared(baseline, result, margin=0.2).exit_code == 0


def test_the_greatest_loss_comes_first(baseline):
    def slightly(query, text):
        if query.endswith("beta2"):
            return float(text.endswith("rival0")) + gold(text) * 0.5  # from 1st to 2nd
        return -gold(text) if query.endswith("beta4") else gold(text)

    def gold(text):
        return float(text.startswith("gold"))

    moved = compared(baseline, run(FakeScorer(slightly))).moved
    assert [m.query_id for m in moved] == ["q4", "q2"]


def test_better_passes(baseline):
    checked = compared(run(w.indifferent()), baseline)
    assert checked.outcome == "pass" and checked.changes["ndcg@10"].mean > 0.3


def test_other_queries_are_counted_and_the_common_ones_compared(baseline):
    checked = compared(baseline, run(w.knowing(), n=100))
    assert (checked.n, len(checked.new), checked.gone) == (80, 20, ())
    assert any("queries or judgements changed" in text for text in checked.warnings)
    fewer = compared(run(w.knowing(), n=100), baseline)
    assert (fewer.n, len(fewer.gone)) == (80, 20)
    data = w.world()
    stranger = dataclasses.replace(
        baseline,
        per_query=tuple(
            dataclasses.replace(row, query_id=f"x{row.query_id}") for row in baseline.per_query
        ),
    )
    assert data.name == "small"
    with pytest.raises(InputError, match="none of these queries"):
        compared(stranger, baseline)
    others = {row.query_id: f"another {row.query}" for row in baseline.per_query}
    with pytest.raises(InputError, match="of small, has none of these queries"):
        in_both(baseline, others)  # the same ids with other words are other questions


def test_another_corpus_is_told_before_anything_is_searched(tmp_path, monkeypatch, baseline):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "never.py").write_text("def search(query, k):\n    raise SystemExit(99)\n")
    baseline.save(tmp_path / "base.json")
    data = w.world(20)
    queries = {q: f"quite another thing, {text}" for q, text in data.queries.items()}
    w.write_beir(tmp_path / "other", dataclasses.replace(data, queries=queries))
    done = CliRunner().invoke(
        build_app(),
        ["eval", "check", "other", "--baseline", "base.json", "--system", "never:search"],
    )
    assert done.exit_code == 2 and "none of these queries" in done.output


def test_what_cannot_be_compared(baseline):
    data = w.world(80)
    other = evaluate(data, stage=w.stage_of(data), scorer=w.knowing(), top_n=3, **QUICK)
    with pytest.raises(InputError, match="--top-n 5"):
        compared(baseline, other)
    with pytest.raises(InputError, match="above 0"):
        compared(baseline, baseline, margin=0.0)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(w.SCORERS)
    sys.modules.pop("mine", None)
    w.write_beir(tmp_path / "data", w.world(80))

    def call(*arguments, scorer="mine:knowing"):
        return CliRunner().invoke(
            build_app(), ["eval", *arguments, "--scorer", scorer]
        )  # fmt: skip

    made = call("data", "--out", "base", "--first-stage", "bm25", "--top-n", "3", "--seed", "7")
    assert made.exit_code == 0, made.output
    same = call("check", "data", "--baseline", "base/result.json", "--json")
    assert same.exit_code == 0, same.output
    told = json.loads(same.stdout)
    assert told["outcome"] == "pass" and told["result"]["made"]["seed"] == 7
    assert "recall@3" in told["changes"] and told["result"]["made"]["kind"] == "bm25"
    worse = call(
        "check", "data", "--baseline", "base/result.json", "--out", "new", scorer="mine:hating"
    )
    assert worse.exit_code == 1
    assert worse.stdout.startswith("FAIL") and "q0: ndcg@10 1.000 -> 0.333" in worse.stdout
    assert Result.load(tmp_path / "new" / "result.json").verdict == "dont_ship"
    assert json.loads((tmp_path / "new" / "check.json").read_text())["outcome"] == "fail"
    passed = call("check", "data", "--baseline", "base/result.json").stdout
    margin = told["margin"]
    assert passed.startswith(f"PASS: not worse than the baseline by {margin:g} or more")
    assert (
        told["widened"]
        and margin > 0.02
        and "margin of 0.02 is widened" in (" ".join(passed.split()))
    )
    assert call("check", "data", "--baseline", "none.json").exit_code == 2
    assert call("check", "data", "--baseline", "data/qrels.tsv").exit_code == 2
    assert call("check", "data").exit_code == 2
    zero = call("check", "data", "--baseline", "base/result.json", "--margin", "0")
    assert zero.exit_code == 2 and "above 0" in zero.output
