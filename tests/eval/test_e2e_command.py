"""`rankgate eval e2e`, as it is typed: real processes, a real index, the scripted judge."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from e2e_server import ScriptedServer, serving

THINGS = ("copper", "silver", "zinc", "nickel", "cobalt", "chromium", "titanium", "tungsten")
N = 60


@pytest.fixture
def data(tmp_path):
    """A BEIR folder in which BM25 puts a wordy decoy above the answer."""
    folder = tmp_path / "mines"
    folder.mkdir()
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for i in range(N):
        thing = THINGS[i % len(THINGS)]
        corpus.append({"_id": f"p{i}", "text": f"Mine number{i} holds {thing} since long ago."})
        decoy = f"Which metal mine number{i} holds: which metal was asked, number{i}, in vain."
        corpus.append({"_id": f"d{i}", "text": decoy})
        queries.append(
            {
                "_id": f"q{i}",
                "text": f"Which metal does mine number{i} hold?",
                "answer": f"holds {thing}",
            }
        )
        qrels.append(f"q{i}\tp{i}\t1")
    for name, rows in (("corpus", corpus), ("queries", queries)):
        text = "".join(json.dumps(r) + "\n" for r in rows)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "qrels.tsv").write_text("\n".join(qrels) + "\n")
    # The user's own scorers and generator, found from the working directory.
    (tmp_path / "mine.py").write_text(
        "from rankgate.testing import FakeScorer\n"
        "good = FakeScorer(lambda q, t: float('since long ago' in t and q.split()[4] in t))\n"
        "calls = []\n"
        "def write(question, contexts):\n"
        "    return contexts[0]\n"
    )
    return folder


def run(folder, *arguments, env=None):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "rankgate.cli", "eval", "e2e", str(folder), *arguments],
        cwd=folder.parent,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **({} if env is None else env)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


LOCAL = ("--first-stage", "bm25", "--scorer", "mine:good", "--generator", "mine:write", "--k", "5")
ONE = ("--top-n", "1", "--arms", "first_stage,rerank")


@pytest.mark.model
def test_the_local_judge_asks_nobody_and_decides(data):
    done = run(data, *LOCAL, *ONE, "--judge", "local", "--out", "out", "--json", "--limit", "12")
    assert done.returncode in (0, 3), done.stderr
    found = json.loads(done.stdout)
    assert found["name"] == "end_to_end_local"
    assert found["deciding"] == ["containment", "token_f1", "local_faithfulness"]
    for arm in found["arms"].values():
        assert 0.5 < arm["local_faithfulness"]["mean"] <= 1.0, "what is quoted is found"
        assert "faithfulness" not in arm
    assert "not Ragas' faithfulness" in (data.parent / "out/end_to_end.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--judge", "gpt"), "local"),
        (("--judge", "local", "--judge-model", "m"), "two judges"),
        (("--judge", "local", "--repeat", "3"), "same every time"),
    ],
)
def test_wrong_options_of_the_local_judge_are_told_before_anything_runs(data, options, message):
    done = run(data, *LOCAL, *ONE, *options, "--out", "out")
    assert done.returncode == 2 and message in done.stderr
    assert not (data.parent / "out" / "end_to_end.json").exists()


def test_without_a_judge(data, tmp_path):
    done = run(data, *LOCAL, *ONE, "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # JSON alone
    assert found["name"] == "end_to_end_keyless"
    assert found["verdict"] == "ship"
    assert found["arms"]["first_stage"]["containment"]["mean"] == 0.0
    assert found["arms"]["rerank"]["containment"]["mean"] == 1.0
    assert found["made"]["questions"] == f"{N} of {N}"
    assert "--top-n 1" in found["made"]["command"]
    assert json.loads((tmp_path / "out" / "end_to_end.json").read_text()) == found
    assert (tmp_path / "out" / "end_to_end.md").is_file()


def test_with_a_judge_dry_first_then_really_then_again(data, tmp_path):
    key = "sk-test-1234"
    (tmp_path / "prices.toml").write_text(
        "[models.judge]\ninput = 1\noutput = 2\n[models.writer]\ninput = 1\n"
        "[models.embed]\ninput = 1\n"
    )
    with serving(ScriptedServer(key=key)) as server:
        asked = (
            *("--first-stage", "bm25", "--scorer", "mine:good", "--k", "5", *ONE),
            *("--judge-model", "judge", "--judge-base-url", server.url),
            *("--judge-api-key-env", "MINE_KEY", "--embeddings-model", "embed"),
            *("--generator", "openai", "--generator-model", "writer"),
            *("--prices", "prices.toml", "--max-cost", "50", "--limit", "6", "--out", "out"),
        )
        env = {"MINE_KEY": key}
        dry = run(data, *asked, "--dry-run", "--json", env=env)
        assert dry.returncode == 0, dry.stderr
        assert server.requests == []
        estimate = json.loads(dry.stdout)
        assert estimate["roles"]["generator"]["calls"] == 12
        assert estimate["cost"] > 0.0
        done = run(data, *asked, env=env)
        assert done.returncode == 3, done.stderr  # six questions decide nothing
        assert "NOT ENOUGH DATA" in done.stdout
        sent = len(server.requests)
        assert 0 < sent <= estimate["calls"]
        first = (tmp_path / "out" / "end_to_end.json").read_bytes()
        again = run(data, *asked, env=env)
        assert again.returncode == 3
        assert len(server.requests) == sent
        assert (tmp_path / "out" / "end_to_end.json").read_bytes() == first
    for file in (tmp_path / "out").rglob("*"):
        assert file.is_dir() or key.encode() not in file.read_bytes()
    found = json.loads(first)
    assert found["name"] == "end_to_end"
    assert found["made"]["usage"]["judge"]["calls"] > 0
    assert found["made"]["judge"]["ragas"] == "0.4.3"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--judge-model", "m"), "--judge-base-url"),
        (("--judge-model", "m", "--judge-base-url", "localhost"), "http://"),
        (
            ("--judge-model", "m", "--judge-base-url", "http://x", "--judge-api-key-env", "NO_KEY"),
            "NO_KEY",
        ),
        (
            ("--judge-model", "m", "--judge-base-url", "http://x", "--judge-params", "[1]"),
            "JSON object",
        ),
        (("--judge-base-url", "http://x"), "--judge-model"),
        (("--generator", "openai"), "--generator-model"),
        (("--generator", "nobody"), "no generator 'nobody'"),
        (("--arms", "rerank"), "first_stage"),
        (("--top-n", "9"), "must be at least top_n"),
        (("--judge-model", "fake", "--judge-base-url", "http://x"), "never judges its own arm"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(data, extra, said):
    from typer.testing import CliRunner

    from rankgate.cli import build_app

    before = os.getcwd()
    os.chdir(data.parent)
    try:
        arguments = ["eval", "e2e", str(data), *LOCAL, "--out", "out", *extra]
        done = CliRunner().invoke(build_app(), arguments)
    finally:
        os.chdir(before)
        sys.modules.pop("mine", None)
        sys.path[:] = [p for p in sys.path if p != str(data.parent)]
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not (data.parent / "out" / "calls").exists()


def test_questions_without_any_reference_are_refused_before_anything_is_loaded(data):
    rows = [json.loads(r) for r in (data / "queries.jsonl").read_text().splitlines()]
    bare = "".join(json.dumps({"_id": r["_id"], "text": r["text"]}) + "\n" for r in rows)
    (data / "queries.jsonl").write_text(bare)
    (data.parent / "mine.py").write_text("raise SystemError('the scorer was loaded')\n")
    done = run(data, *LOCAL[:4], *ONE, "--out", "out")
    assert done.returncode == 2, done.stderr
    assert f"none of the {N} questions has one" in done.stderr
    assert "the scorer was loaded" not in done.stderr


def test_own_questions_over_the_corpus(data, tmp_path):
    (tmp_path / "own.jsonl").write_text(
        json.dumps({"question": "Which metal does mine number7 hold?", "answer": "holds tungsten"})
        + "\n"
    )
    done = run(data, *LOCAL, *ONE, "--questions", "own.jsonl", "--out", "out", "--json")
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert found["n"] == 1
    assert found["arms"]["rerank"]["containment"]["mean"] == 1.0


def test_the_section_joins_the_result_of_the_ranking(data, tmp_path):
    base = [sys.executable, "-m", "rankgate.cli", "eval", str(data), "--first-stage", "bm25"]
    done = subprocess.run(
        [*base, "--scorer", "mine:good", "--k", "5", "--top-n", "1", "--out", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode in (0, 1, 3), done.stderr
    assert run(data, *LOCAL, *ONE, "--out", "out").returncode == 0
    whole = json.loads((tmp_path / "out" / "result.json").read_text())
    assert whole["end_to_end"]["name"] == "end_to_end_keyless"
    assert "Did the answers get better?" in (tmp_path / "out" / "report.html").read_text()
    # The ranking is measured again: the answers stay in its report.
    again = [*base, "--scorer", "mine:good", "--k", "5", "--top-n", "1", "--out", "out"]
    subprocess.run(again, cwd=tmp_path, capture_output=True, timeout=240, check=False)
    assert (
        json.loads((tmp_path / "out" / "result.json").read_text())["end_to_end"]
        == (whole["end_to_end"])
    )
    file = tmp_path / "out" / "end_to_end.json"
    file.write_text(file.read_text().replace(f'"data": "{data.name}"', '"data": "other"'))
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "give another --out" in done.stderr.replace("\n", " ")
