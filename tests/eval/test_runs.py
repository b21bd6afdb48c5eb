"""Runs as files: other systems compared, a run as the first stage, runs of every arm."""

import json
import sys

import eval_world as w
import evaluate_kit as kit
import pytest
from typer.testing import CliRunner

from rankgate.cli import build_app
from rankgate.errors import InputError
from rankgate_eval import Result, evaluate
from rankgate_eval.cli.summary import runs_lines
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.readers import Run, read_run
from rankgate_eval.errors import DatasetError
from rankgate_eval.report.runs import run_rows
from rankgate_eval.result.call import Call
from rankgate_eval.run.experiment import EvalSettings
from rankgate_eval.verdict.runs import compare_runs

RUNNER = CliRunner()
FAST = EvalSettings(resamples=200, permutations=499)


def planted(n, place):
    """n queries, one relevant passage each; `place` says at which rank it stands for query i."""
    lists = {}
    for i in range(n):
        ids = [f"x{i}.{j}" for j in range(9)]
        ids.insert(place(i), f"d{i}")
        lists[f"q{i}"] = tuple(ids)
    return lists


def judgements(n):
    return Dataset(
        name="planted",
        corpus={},
        queries={f"q{i}": f"q{i}" for i in range(n)},
        qrels={f"q{i}": {f"d{i}": 1} for i in range(n)},
        splits={},
    )


FIRST = Run(name="first", lists=planted(300, lambda i: i % 5))
GOOD = Run(name="good", lists=planted(300, lambda i: 0 if i % 3 else i % 5))
BAD = Run(name="bad", lists=planted(300, lambda i: 4 + i % 5))


def test_each_run_gets_its_verdict_and_the_best_is_taken():
    found = compare_runs(judgements(300), [FIRST, GOOD, BAD], settings=FAST)
    verdicts = {name: run.verdict for name, run in found.runs.items()}
    assert verdicts == {"first": None, "good": Call.SHIP, "bad": Call.DONT_SHIP}
    assert found.take == "good" and found.exit_code == 0 and found.clusters == 300
    assert "nDCG@10 is better than that of first" in found.runs["good"].reasons[0]
    assert not any("gate" in r or "tuned" in r for r in found.runs["good"].reasons)
    assert found.per_query["q0"]["first"] == {"ndcg@10": 1.0, "recall@5": 1.0}


def test_a_run_against_itself_never_ships():
    copy = Run(name="copy", lists=FIRST.lists)
    found = compare_runs(judgements(300), [FIRST, copy], settings=FAST)
    assert found.runs["copy"].differences["ndcg@10"].mean == 0.0
    assert found.runs["copy"].verdict is not Call.SHIP
    assert found.take == "first" and found.exit_code != 0


def test_p_is_holms_over_all_runs():
    small = Run(name="small", lists=planted(300, lambda i: i % 5 if i > 9 else 0))
    alone = compare_runs(judgements(300), [FIRST, small], settings=FAST)
    among = compare_runs(judgements(300), [FIRST, small, GOOD, BAD], settings=FAST)
    p = alone.runs["small"].adjusted_p
    assert p == alone.runs["small"].differences["ndcg@10"].p
    # The least of three p-values is multiplied by three, and this is not the least.
    assert p <= among.runs["small"].adjusted_p <= 3 * p
    assert among.runs["good"].adjusted_p == pytest.approx(
        3 * among.runs["good"].differences["ndcg@10"].p
    )


@pytest.mark.parametrize("lacking", ["first", "other"])
def test_lists_that_are_missing_decide_nothing_by_themselves(lacking):
    """An equal run shipped where the first one lacked lists; a good one that lacks some did not."""

    def part(run):
        return {q: ids for q, ids in run.lists.items() if int(q[1:]) >= 100}

    first, other = (part(FIRST), FIRST.lists) if lacking == "first" else (FIRST.lists, part(GOOD))
    runs = [Run(name="first", lists=first), Run(name="other", lists=other)]
    found = compare_runs(judgements(300), runs, settings=FAST)
    assert found.runs["other"].verdict is Call.NOT_ENOUGH_DATA and found.take == "first"
    assert "over the 200 of 300 queries" in found.runs["other"].reasons[0]
    assert found.warnings[0].startswith(f"{lacking} has no list for 100 of 300 judged queries")
    assert runs_lines(found, [])[0].startswith("Warning: ") and "p (Holm)" in run_rows(found)[0]


def test_what_is_worse_over_the_lists_that_are_there_stays_worse():
    lacking = {q: ids for q, ids in BAD.lists.items() if int(q[1:]) >= 40}
    found = compare_runs(judgements(300), [FIRST, Run(name="bad", lists=lacking)], settings=FAST)
    assert found.runs["bad"].verdict is Call.DONT_SHIP
    assert "Holm-adjusted p = " in found.runs["bad"].reasons[0]


def test_what_a_run_lacks_counts_0_and_what_is_not_of_the_first_is_told():
    half = Run(name="half", lists={q: ids for q, ids in FIRST.lists.items() if int(q[1:]) % 2})
    other = Run(name="other", lists={q: (*ids, "new") for q, ids in FIRST.lists.items()})
    found = compare_runs(judgements(300), [FIRST, half, other], settings=FAST)
    assert found.runs["half"].missing == 150 and found.per_query["q0"]["half"]["ndcg@10"] == 0.0
    assert (found.runs["half"].beyond, found.runs["other"].beyond) == (0, 300)
    with pytest.raises(InputError, match="different names"):
        compare_runs(judgements(300), [FIRST, FIRST], settings=FAST)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(w.SCORERS)
    sys.modules.pop("mine", None)
    w.write_beir(tmp_path / "data", w.world(60, unanswerable=3))
    return tmp_path


def call(*arguments):
    return RUNNER.invoke(build_app(), ["eval", *map(str, arguments)])


def test_runs_of_the_arms_read_back_have_the_arms_numbers(here):
    assert call("data", "--first-stage", "bm25", "--scorer", "mine:knowing", "--out", "a")
    result = Result.load(here / "a" / "result.json")
    files = sorted((here / "a" / "runs").glob("*.trec"))
    assert [f.stem for f in files] == sorted(result.arms)
    runs = [f for name in result.arms for f in ("--run", here / "a" / "runs" / f"{name}.trec")]
    done = call("data", *runs, "--out", "b", "--top-n", result.made.top_n, "--json")
    found = json.loads(done.stdout)
    assert list(found["runs"]) == list(result.arms) and not found["warnings"]
    for arm, numbers in result.arms.items():
        for metric, mean in numbers.metrics.items():
            read = found["runs"][arm]["metrics"][metric]
            assert [read["mean"], *read["ci"]] == pytest.approx([mean.mean, *mean.ci], abs=1e-12)
    rows = {row.query_id: row.values["policy"] for row in result.per_query}
    assert {q: v["policy"] for q, v in found["per_query"].items()} == {
        q: pytest.approx(v) for q, v in rows.items()
    }


def test_one_run_is_the_first_stage_of_everything(here):
    call("data", "--first-stage", "bm25", "--scorer", "mine:knowing", "--out", "a")
    run = here / "a" / "runs" / "first_stage.trec"
    done = call("data", "--run", run, "--scorer", "mine:knowing", "--out", "b")
    before, after = (Result.load(here / x / "result.json") for x in "ab")
    assert after.made.first_stage == "run first_stage" and after.made.kind == "order"
    for arm in ("first_stage", "rerank"):
        assert after.arms[arm].metrics["ndcg@10"] == before.arms[arm].metrics["ndcg@10"]
    assert "its own time is not in any latency" in " ".join(after.warnings)
    lines = run.read_text().splitlines(keepends=True)
    run.write_text("".join(x for x in lines if not x.startswith("q0 ")))
    call("data", "--run", run, "--scorer", "mine:knowing", "--out", "b")
    said = " ".join(Result.load(here / "b" / "result.json").reasons)
    assert "no list for 1 of 60 judged queries" in said
    swept = call("sweep", "data", "--run", run, "--scorer", "mine:knowing", "--k", "5", "--json")
    assert json.loads(swept.stdout)["made"]["first_stage"] == "run first_stage"
    assert done.exit_code == 0


def test_judgements_alone_will_do(here):
    (here / "qrels.txt").write_text("".join(f"q{i} 0 d{i} {i % 3}\n" for i in range(300)))
    for name, place in (("first", lambda i: i % 5), ("good", lambda i: 0)):
        rows = planted(300, place).items()
        (here / f"{name}.run").write_text(
            "".join(f"{q} Q0 {d} 1 {-r} t\n" for q, ids in rows for r, d in enumerate(ids))
        )
    done = call("qrels.txt", "--run", "first.run", "--run", "good.run", "--out", "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("SHIP good: better than first")
    assert "200 judged queries in 200 document groups" in done.stdout
    assert "## good" in (here / "out" / "runs.md").read_text()
    strict = call(
        "qrels.txt", "--run", "first.run", "--run", "good.run", "--min-grade", 2, "--out", "out"
    )
    assert strict.exit_code == 3 and "100 judged queries" in strict.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--run", "a.trec", "--run", "b.trec", "--scorer", "mine:knowing"), "--scorer has no par"),
        (("--run", "a.trec", "--run", "a.trec"), "different names"),
        (("--run", "a.trec", "--run", "ghost.trec"), "ghost.trec: no such file"),
        (("--run", "a.trec", "--run", "bad.trec"), "bad.trec, line 1: expected query, Q0"),
        (("--run", "a.trec", "--run", "other.trec"), "other.trec, line 1: none of its queries"),
        (("--run", "a.trec", "--system", "mine:x"), "two first stages"),
        (("--run", "strange.trec"), "strange.trec, line 2: passage 'ghost' is not in the corpus"),
    ],
)
def test_wrong_input_is_a_sentence_with_file_and_line(here, arguments, said):
    passage = next(iter(w.world(60).corpus))
    (here / "a.trec").write_text(f"q1 Q0 {passage} 1 1 a\n")
    (here / "b.trec").write_text(f"q1 Q0 {passage} 1 1 a\n")
    (here / "strange.trec").write_text(f"q1 Q0 {passage} 1 2 a\nq1 Q0 ghost 2 1 a\n")
    (here / "other.trec").write_text(f"z1 Q0 {passage} 1 1 a\n")
    (here / "bad.trec").write_text("q1 p1 1\n")
    done = call("data", *arguments, "--out", "out")
    assert done.exit_code == 2, done.output
    assert said in done.output.replace("\n", " ")


def test_sweep_and_check_take_one_run_alone(here):
    done = call("sweep", "data", "--run", "a", "--run", "b")
    assert done.exit_code == 2 and "only `rankgate eval DATA` compares several" in done.output


def test_an_id_with_a_blank_costs_the_run_files_and_nothing_else(here):
    data = w.world(60)
    renamed = {i: f"{i} of it" for i in data.corpus}
    odd = Dataset(
        name="odd",
        corpus={renamed[i]: text for i, text in data.corpus.items()},
        queries=data.queries,
        qrels={q: {renamed[p]: g for p, g in grades.items()} for q, grades in data.qrels.items()},
        splits={},
    )
    w.write_beir(here / "odd", odd)
    call("odd", "--first-stage", "bm25", "--scorer", "mine:knowing", "--out", "out")
    result = Result.load(here / "out" / "result.json")
    assert any("No run files of the arms were written" in said for said in result.warnings)
    assert not list((here / "out" / "runs").iterdir())


def test_a_run_of_the_library_is_what_the_file_says(here):
    (here / "x.trec").write_text("q1 Q0 p1 1 2 x\nq1 Q0 p2 2 1 x\n")
    assert read_run(here / "x.trec").lists == {"q1": ("p1", "p2")}


def test_lists_that_share_one_score_are_no_order(tmp_path):
    """As trec_eval reads them they were upside down, and random numbers shipped over them."""
    file = tmp_path / "flat.trec"
    rows = [f"q{q} Q0 p{r} {r} 1 x" for q in range(9) for r in range(1, 6)]
    file.write_text("\n".join(rows) + "\n")
    with pytest.raises(DatasetError, match="9 of 9 lists are all alike"):
        read_run(file)
    assert len(read_run(file, texts_needed=False).warnings) == 9


def test_twenty_lists_of_many_questions_decide_nothing():
    data = w.world()
    queries = [data.queries[q] for q in data.judged(None)]
    assert len(queries) >= 50
    whole, listed = w.stage_of(data), set(queries[:20])

    def stage(query, k):
        return whole.candidates(query, k) if query in listed else []

    result = evaluate(
        data, stage=stage, scorer=w.knowing(), policy=kit.policy(), first_stage="bm25", **kit.QUICK
    )
    assert result.verdict is Call.NOT_ENOUGH_DATA
    assert f"no list for {len(queries) - 20} of {len(queries)}" in result.reasons[0]
    assert result.queries_needed is None, "lists are needed, not queries"
