"""`rankgate eval` as a user types it: exit codes, JSON alone on stdout, files, messages."""

import json
import subprocess
import sys
from pathlib import Path

import eval_world as w
import jsonschema
import pytest
from typer.testing import CliRunner

from rankgate.cli import build_app
from rankgate_eval import Result, result_schema
from rankgate_eval.cli import progress

RUNNER = CliRunner()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a module of scorers and a data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(w.SCORERS)
    sys.modules.pop("mine", None)
    w.write_beir(tmp_path / "data", w.world(80, unanswerable=3))
    return tmp_path


def call(*arguments):
    return RUNNER.invoke(build_app(), ["eval", *arguments])


def measure(*arguments, scorer="mine:knowing", data="data"):
    return call(
        data, "--out", "out", "--first-stage", "bm25", "--scorer", scorer, *arguments
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scorer", "code", "headline"),
    [
        ("mine:knowing", 0, "SHIP: the reranker pays"),
        ("mine:made", 0, "SHIP: the reranker pays"),
        ("mine:hating", 1, "DON'T SHIP"),
    ],
)
def test_verdicts_are_exit_codes(here, scorer, code, headline):
    done = measure(scorer=scorer)
    assert done.exit_code == code, done.output
    assert done.stdout.startswith(headline)
    for name in ("result.json", "report.html", "report.md", "queries.csv"):
        assert (here / "out" / name).stat().st_size > 500
        assert name in done.stdout
    saved = Result.load(here / "out" / "result.json")
    assert saved.exit_code == code and saved.made.seed == 0


def test_the_terminal_has_reasons_arms_and_diagnosis(here):
    out = measure("--budget-ms", "100000").stdout
    assert "nDCG@10 is better than that of the tuned first stage" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["rerank", "1.000", "1.000-1.000", "1.000", "1.000-1.000"] in [x[:5] for x in lines]
    assert "Diagnosis: " in out and "80 judged queries in 80 document groups" in out
    assert "Data set: " not in out, "questions said to be unanswerable are no fault of the data"


def test_not_enough_data_is_3(here):
    done = measure("--limit", "12")
    assert done.exit_code == 3 and done.stdout.startswith("NOT ENOUGH DATA")


def test_json_stands_alone_on_stdout_and_follows_the_schema(here):
    done = measure("--json", "--field", "topic")
    data = json.loads(done.stdout)
    jsonschema.Draft202012Validator(result_schema()).validate(data)
    assert data == json.loads((here / "out" / "result.json").read_text())
    assert data["verdict"] == "ship" and done.exit_code == 0
    assert data["arms"]["policy"]["ndcg@10"]["mean"] == 1.0
    assert set(data["arms"]["policy"]["latency_ms"]) >= {"p50", "p95", "p99"}
    assert any(row["dimension"] == "topic" for row in data["strata"]["rows"])


def test_usage_errors_are_2_and_say_what_is_wrong(here):
    for arguments, wanted in (
        (("data",), "--out"),
        (("nowhere", "--out", "out"), "no data set at nowhere"),
        (("data", "--out", "out", "--first-stage", "sparse"), "hybrid, dense, bm25"),
        (("data", "--out", "out", "--first-stage", "bm25", "--scorer", "none"), "needs a scorer"),
        (("data", "--out", "out", "--split", "tset"), "no split 'tset'"),
        (("data", "--out", "out", "--first-stage", "bm25", "--policy", "p.json"), "p.json"),
        (("data", "--out", "out", "--k", "0"), "--k"),
        (("data", "--out", "out", "--nonsense"), "--nonsense"),
        (("data", "--out", "mine.py"), "mine.py"),
        (("data", "--out", "out", "--system", "nothing:x"), "no module 'nothing'"),
        (("data", "--out", "out", "--system", "mine:y"), "has no 'y'"),
    ):
        done = call(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert wanted in done.output, (arguments, done.output)
        assert done.stdout == "", "what is wrong is told on stderr"


def test_bad_data_is_shown_with_file_and_line_and_no_screen_is_filled(here):
    lines = (here / "data" / "qrels.tsv").read_text().splitlines()
    lines += [f"ghost{i}\tg1\t1" for i in range(30)]
    (here / "data" / "qrels.tsv").write_text("\n".join(lines) + "\n")
    done = measure()
    assert done.exit_code == 2 and done.stdout == ""
    for i in range(20):
        assert f"line {len(lines) - 30 + i + 1}: query 'ghost{i}'" in done.stderr
    assert "30 errors" in done.stderr and "... and 10 more" in done.stderr
    assert "ghost20" not in done.stderr
    lines += ["q0\tg0\tmany"]
    (here / "data" / "qrels.tsv").write_text("\n".join(lines) + "\n")
    done = measure()
    assert "many" in done.stderr, "one of another kind has its place"
    assert "... and 25 more" in done.stderr


@pytest.mark.parametrize(
    ("scorer", "error"), [("Broken", "ZeroDivisionError"), ("Stops", "StopIteration")]
)
def test_a_crash_is_70_with_what_to_report(here, scorer, error):
    done = measure(scorer=f"mine:{scorer}")
    assert done.exit_code == 70
    assert f"{error}: planted" in done.stderr and "mine.py:" in done.stderr
    assert "--debug" in done.stderr and done.stdout == ""
    debugged = RUNNER.invoke(
        build_app(),
        ["--debug", "eval", "data", "--out", "o", "--first-stage", "bm25", "--scorer",
         "mine:Broken"],
    )  # fmt: skip
    assert isinstance(debugged.exception, ZeroDivisionError)


def test_a_system_of_ones_own(here):
    done = measure("--system", "mine:search", "--json")
    data = json.loads(done.stdout)
    assert data["arms"]["first_stage"]["ndcg@10"]["mean"] == 1.0
    assert data["made"]["kind"] == "order" and data["made"]["first_stage"] == "mine:search"


def test_a_folder_named_like_a_command(here):
    w.write_beir(here / "compare", w.world(12))
    assert measure(data="./compare").exit_code == 3
    w.write_beir(here / "DATA", w.world(12))
    assert measure(data="DATA").exit_code == 3


def test_options_may_stand_before_the_data_set(here):
    done = call("--out", "out", "--first-stage", "bm25", "--scorer", "mine:knowing", "data")
    assert done.exit_code == 0


def test_help_of_the_group_and_of_the_default():
    group = call("--help")
    assert group.exit_code == 0
    for word in ("sweep", "compare", "check", "DATA", "70"):
        assert word in group.stdout
    assert call().exit_code == 2
    own = call("DATA", "--help")
    assert own.exit_code == 0 and "--budget-ms" in own.stdout
    assert call("data", "--help").exit_code == 0
    wrong = call("data", "--bogus")
    assert wrong.exit_code == 2 and "Try 'rankgate eval DATA -h'" in wrong.stderr
    assert "--budget-ms" in call("DATA", "-h").stdout


def test_a_failed_run_leaves_no_empty_folder_and_no_full_one_is_touched(here):
    assert call("nowhere", "--out", "out").exit_code == 2
    assert not (here / "out").exists()
    (here / "mine").mkdir()
    assert call("nowhere", "--out", "mine").exit_code == 2
    assert call("compare", "nowhere", "--out", "both").exit_code == 2
    assert (here / "mine").is_dir() and not (here / "both").exists()


def test_as_a_process(here):
    done = subprocess.run(
        [str(Path(sys.executable).parent / "rankgate"), "eval", "data", "--out", "deep/er",
         "--first-stage", "bm25", "--scorer", "mine:hating", "--json"],
        capture_output=True, text=True, timeout=120, cwd=here, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["verdict"] == "dont_ship"
    command = json.loads((here / "deep/er/result.json").read_text())["made"]["command"]
    assert command.startswith("rankgate eval data --out deep/er")


def test_progress_is_silent_for_two_seconds_and_then_on_stderr(capsys):
    now = [0.0]
    tell = progress.Teller(clock=lambda: now[0])
    tell("retrieving", 1, 9)
    now[0] = 1.9
    tell("retrieving", 2, 9)
    assert capsys.readouterr() == ("", "")
    now[0] = 2.5
    tell("retrieving", 3, 9)
    tell("retrieving", 4, 9)
    tell("scoring", 1, 9)
    assert capsys.readouterr() == ("", "retrieving: 3/9\nscoring: 1/9\n")
