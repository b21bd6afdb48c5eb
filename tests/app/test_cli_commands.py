"""The application's commands on a real index: real files, real Chroma, the real encoder."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import fake_openai
import pytest
from typer.testing import CliRunner

from rag_app.cli.demo import QUESTIONS
from rag_app.generate.answer import REFUSAL
from rag_app.ingest.ingestion import ingest
from rag_app.settings import Settings
from rankgate import Floor, Policy, RelevanceModel
from rankgate.cli import GROUP, build_app
from rankgate.decide.logistic import Feature, Logistic

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()
COMMANDS = ("ask", "chat", "config", "demo", "doctor", "search")
# Sections of some length: tiny ones would be joined into one chunk.
FILES = {
    "gate.md": (
        "# The gate\n\n## What it decides\n\nThe gate decides whether a query is reranked. It "
        "skips the second stage when the first one is already right. Margins between the best "
        "passages and the agreement of the two lists tell how sure the first stage is, and "
        "nothing else is looked at before the decision is made.\n\n## How it is fitted\n\n"
        "A gate is fitted with `rankgate calibrate` on labelled queries. For each of them it is "
        "known whether leaving out the second stage would have lost a relevant passage, and a "
        "logistic regression learns to foresee exactly that loss.\n"
    ),
    "bread.md": (
        "# Bread\n\n## Dough\n\nA sourdough needs twelve hours of rest in a cool place. Cover "
        "it with a wet cloth, so that the surface does not dry out, and fold it twice during the "
        "first hour, which gives the loaf its strength and an open crumb.\n\n## Oven\n\n"
        "- Bake the loaf at 230 degrees for forty minutes, the first ten of them with steam.\n"
        "- Let it cool on a rack before it is cut, because the crumb sets only while it cools "
        "down, and a loaf that is cut too early tastes of raw dough.\n"
    ),
}

pytestmark = pytest.mark.model


def invoke(*args, **kwargs):
    plugins = [
        importlib.metadata.EntryPoint(name, f"rag_app.cli.{name}:register", GROUP)
        for name in COMMANDS
    ]
    return RUNNER.invoke(build_app(plugins), list(args), **kwargs)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    target = tmp_path_factory.mktemp("place") / "index"
    report = ingest([folder], Settings(data_dir=target))
    assert (report.documents, report.failed) == (2, ())
    return target


@pytest.fixture(scope="module")
def strict_policy(tmp_path_factory):
    """Refuses whatever is not really close; for the real scorer's scale."""
    model = RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=40.0, mean=0.5),)), scale="maxsim-head"
    )
    first = RelevanceModel(
        model=Logistic(features=(Feature(name="dense", weight=40.0, mean=0.35),))
    )
    file = tmp_path_factory.mktemp("policies") / "strict.json"
    Policy.unfitted().with_section(
        "hybrid", reranked=model, first_stage=first, floor=Floor(refuse_below=0.5)
    ).save(file)
    return file


@pytest.fixture(scope="module")
def plain_policy(tmp_path_factory):
    """Always reranks, refuses nothing: what the default policy was fitted to does not matter."""
    file = tmp_path_factory.mktemp("policies") / "plain.json"
    Policy.unfitted().save(file)
    return file


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch, data_dir, plain_policy):
    for name in list(os.environ):
        if name.upper().startswith("RANKGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RANKGATE_DATA_DIR", str(data_dir))
    monkeypatch.setenv("RANKGATE_POLICY", str(plain_policy))
    monkeypatch.chdir(tmp_path)


def test_ask_answers_with_sources():
    done = invoke("ask", "How long does a sourdough rest?")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("A sourdough needs twelve hours of rest in a cool place. [1]")
    assert "Sources" in lines
    assert "[1] Bread" in done.stdout
    assert "Dough" in done.stdout


def test_ask_json_is_json_alone_and_quotes_are_in_the_file():
    done = invoke("ask", "How long does a sourdough rest?", "--json")
    data = json.loads(done.stdout)
    assert data["status"] == "answered"
    quote = data["sources"][0]["quotes"][0]
    assert quote["text"] == "A sourdough needs twelve hours of rest in a cool place."
    assert quote["text"] in FILES["bread.md"]
    from rag_app.index.store import Store

    with Store.open(Settings.load()) as store:
        text = store.document_text(data["sources"][0]["document_id"])
    assert text[quote["start"] : quote["end"]] == quote["text"]


def test_trace_in_full_in_short_and_not_at_all():
    question = "When is the second stage skipped?"
    full = invoke("ask", question, "--trace").stdout
    short = invoke("ask", question).stdout
    none = invoke("ask", question, "--no-trace").stdout
    assert "Gate: " in full and "Time: " in full
    assert "Reranked (" in short and "Gate: " not in short
    assert "Reranked (" not in none


def test_force_and_top_n_reach_the_reranker():
    done = invoke("ask", "gate?", "--force", "skip", "--top-n", "1", "--json")
    trace = json.loads(done.stdout)["trace"]
    assert (trace["status"], trace["reason"], trace["top_n"]) == ("skipped", "forced", 1)
    assert len(trace["kept"]) == 1


def test_a_refusal_is_one_line_that_is_never_wrapped(strict_policy, monkeypatch):
    monkeypatch.setenv("RANKGATE_POLICY", str(strict_policy))
    monkeypatch.setenv("COLUMNS", "20")
    question = "Who won the chess championship of Iceland?"
    done = invoke("ask", question)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == REFUSAL
    assert "The closest topics are:" in done.stdout
    assert invoke("ask", question, "--exit-code").exit_code == 3
    data = json.loads(invoke("ask", question, "--json").stdout)
    assert (data["status"], data["answer"]) == ("refused", "I don't have this information")
    assert data["sources"] == []
    assert data["nearest_topics"]


def test_ask_with_an_llm(monkeypatch):
    with fake_openai.serving() as server:
        monkeypatch.setenv("RANKGATE_OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("RANKGATE_OPENAI_MODEL", "m")
        server.will(fake_openai.Reply(text="Twelve hours [1][9]."))
        done = invoke("ask", "How long does a sourdough rest?", "--generator", "openai")
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[0] == "Twelve hours [1]."


def test_an_llm_that_is_down_is_exit_code_5_with_what_was_found(monkeypatch):
    with fake_openai.serving() as server:
        monkeypatch.setenv("RANKGATE_OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("RANKGATE_OPENAI_MODEL", "m")
        server.will(fake_openai.Reply(status=400))
        args = ("ask", "How long does a sourdough rest?", "--generator", "openai")
        done = invoke(*args)
        assert done.exit_code == 5
        assert "Passages found" in done.stdout
        assert "Dough" in done.stdout
        assert "Error: m at http://127.0.0.1" in done.stderr
        data = json.loads(invoke(*args, "--json").stdout)
    assert (data["status"], data["answer"]) == ("generator_failed", None)
    assert "HTTP 400" in data["error"]
    assert data["passages"]


def test_openai_without_a_model_is_a_usage_error():
    done = invoke("ask", "x?", "--generator", "openai")
    assert done.exit_code == 2
    assert "needs openai_model" in done.stderr


def test_search_shows_every_candidate_with_its_scores():
    data = json.loads(invoke("search", "bake a loaf", "--json").stdout)
    rows = data["passages"]
    assert [row["after"] for row in rows] == list(range(1, len(rows) + 1))
    assert sorted(row["before"] for row in rows) == list(range(1, len(rows) + 1))
    assert all(row["dense"] is not None and row["bm25"] is not None for row in rows)
    assert all((row["dropped"] is None) == row["kept"] for row in rows)
    table = invoke("search", "bake a loaf", "--limit", "2", "--top-n", "1")
    assert table.exit_code == 0
    assert "relevance" in table.stdout and "no: beyond top_n" in table.stdout
    assert f"... and {len(rows) - 2} more" in table.stdout


def test_chat_reads_a_pipe_until_its_end():
    done = invoke("chat", input="How long does a sourdough rest?\n\n/history\n/what\n")
    assert done.exit_code == 0, done.output
    assert "A sourdough needs twelve hours" in done.stdout
    assert "1. How long does a sourdough rest? (answered)" in done.stdout
    assert "Unknown command /what" in done.stderr


def test_chat_stops_at_quit_and_speaks_json_lines():
    done = invoke("chat", "--json", input="gate?\ndough?\n/quit\nnever asked?\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["question"] for row in rows] == ["gate?", "dough?"]


def test_chat_understands_a_question_after_those_before_until_a_new_conversation():
    first, after = "How long does a sourdough rest?", "And where does it?"
    done = invoke("chat", "--json", input=f"{first}\n{after}\n/new\n{after}\n/history\n")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["question"] for row in rows] == [first, after, after]
    assert rows[0]["trace"]["searched"] is None
    assert rows[1]["trace"]["searched"]["by"] == "rule"
    assert rows[1]["trace"]["searched"]["scored"] == f"{after} {first}"
    assert rows[2]["trace"]["searched"] is None, "/new begins another conversation"
    assert "A new conversation." in done.stderr
    assert "1. And where does it?" in done.stderr and "2. " not in done.stderr


def test_an_empty_index_says_what_to_do(tmp_path):
    for args in (("ask", "x?"), ("search", "x?"), ("chat",)):
        done = invoke(*args, "--data-dir", str(tmp_path / "none"))
        assert done.exit_code == 2
        assert "rankgate ingest FOLDER" in done.stderr
    assert not (tmp_path / "none").exists()


def test_an_empty_question_is_a_usage_error():
    done = invoke("ask", "  ")
    assert done.exit_code == 2
    assert "the question is empty" in done.stderr


def test_config_show_names_origins_and_masks_secrets(tmp_path, monkeypatch):
    (tmp_path / "rankgate.toml").write_text('k = 9\nopenai_api_key = "sk-secret"\n')
    done = invoke("config", "show", "--collection", "mine", "--json")
    data = json.loads(done.stdout)["settings"]
    assert data["k"] == {"value": 9, "origin": "file"}
    assert data["data_dir"]["origin"] == "environment"
    assert data["collection"] == {"value": "mine", "origin": "command line"}
    assert data["top_n"] == {"value": None, "origin": "default"}
    text = invoke("config", "show").stdout
    assert "sk-secret" not in done.stdout + text
    assert "**********" in text


def test_a_misspelt_setting_is_exit_code_2(monkeypatch):
    monkeypatch.setenv("RANKGATE_TOPN", "3")
    done = invoke("config", "show")
    assert done.exit_code == 2
    assert "did you mean RANKGATE_TOP_N?" in done.stderr


def test_doctor_finds_a_healthy_place():
    done = invoke("doctor", "--json")
    data = json.loads(done.stdout)
    assert (done.exit_code, data["healthy"]) == (0, True), data
    by_name = {check["name"]: check for check in data["checks"]}
    assert "the published weights" in by_name["encoder"]["detail"]
    assert "2 documents" in by_name["index"]["detail"]
    for name in ("bm25", "vectors"):
        assert by_name[name]["verdict"] == "ok" and "it answers" in by_name[name]["detail"]
    assert "Healthy." in invoke("doctor").stdout


def test_doctor_tells_problems_by_its_exit_code(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKGATE_POLICY", str(tmp_path / "none.json"))
    done = invoke("doctor")
    assert done.exit_code == 1
    assert "PROBLEM" in done.stdout and "none.json" in done.stdout
    assert "Problems were found." in done.stdout


def test_doctor_does_not_make_the_folder(tmp_path):
    done = invoke("doctor", "--data-dir", str(tmp_path / "none"))
    assert done.exit_code == 0
    assert "Run: rankgate ingest FOLDER" in done.stdout
    assert not (tmp_path / "none").exists()


def test_chat_streams_what_the_llm_writes(monkeypatch):
    with fake_openai.serving() as server:
        monkeypatch.setenv("RANKGATE_OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("RANKGATE_OPENAI_MODEL", "m")
        monkeypatch.setenv("RANKGATE_REWRITE", "off")  # else the model is asked for words, too
        monkeypatch.setenv("RANKGATE_CONDENSE", "rule")
        server.will(
            fake_openai.Reply(text="Twelve hours [2][7].", piece=1),
            fake_openai.Reply(text="Then it broke", cut_after=1),
        )
        done = invoke("chat", "--generator", "openai", input="How long?\nAnd then?\n")
        assert [r["stream"] for r in server.requests] == [True, True]
    assert "Twelve hours [1].\n" in done.stdout
    assert done.exit_code == 5
    assert "cut off" in done.stderr


def test_demo_asks_its_questions_of_any_folder(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    for name, text in FILES.items():
        (tmp_path / "docs" / name).write_text(text)
    monkeypatch.setenv("RANKGATE_DATA_DIR", str(tmp_path / "demo"))
    data = json.loads(invoke("demo", "--json").stdout)
    assert data["ingest"]["documents"] == 2
    assert [q["question"] for q in data["questions"]] == [q.question for q in QUESTIONS]
    assert len(QUESTIONS) == 4
    shown = invoke("demo")
    assert shown.exit_code == 0
    for number, asked in enumerate(QUESTIONS, start=1):
        assert f"{number}. {asked.shows}" in shown.stdout
        assert f"> {asked.question}" in shown.stdout
    assert "(0 of them embedded just now)" in shown.stdout
    assert shown.stdout.rstrip().splitlines()[-1].startswith("  rankgate ")


def test_demo_without_docs_says_what_is_missing():
    done = invoke("demo")
    assert done.exit_code == 2
    assert "there is no folder docs here" in done.stderr


def test_as_a_process_stdout_is_json_alone(data_dir):
    # The package may be installed or not; its commands are registered by hand here.
    code = (
        "import sys; from rankgate.cli import build_app; from rag_app.cli import ask;"
        "app = build_app([]); app.command('other')(lambda: None); ask.register(app); app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ask", "How long does a sourdough rest?", "--json"],
        capture_output=True, text=True, timeout=240, cwd=ROOT,
        env={**os.environ, "RANKGATE_DATA_DIR": str(data_dir), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "answered"
    assert "Traceback" not in done.stderr
