"""The GitHub Actions example: valid YAML, and its commands do what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "examples" / "ci" / "rankgate-eval.yml"
RANKS = 60

SYSTEM = """
from pathlib import Path

from rankgate.testing import FakeScorer

def good(query, k):
    number = int(query.split()[-1])
    return [f"p{(number + i) % 60}" for i in range(min(k, 60))]

def stage(query, k):
    found = good(query, k)
    return found[::-1] if Path("worse").exists() else found

def _constant(query, text):
    return 0.0

scorer = FakeScorer(_constant)
"""


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load(WORKFLOW.read_text("utf-8"))


def steps(workflow):
    return workflow["jobs"]["check"]["steps"]


def shell(workflow, name):
    (found,) = [s["run"] for s in steps(workflow) if s.get("name") == name]
    return found


@pytest.fixture
def project(tmp_path):
    """A user's repository: questions, corpus, baseline, and a system that can become worse."""
    folder = tmp_path / "eval"
    folder.mkdir()
    corpus = [{"_id": f"p{i}", "text": f"part {i} is described here"} for i in range(RANKS)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)) + "\n", "utf-8")
    rows = [f'where is part {i},"part {i} is described here"' for i in range(RANKS)]
    (folder / "questions.csv").write_text("\n".join(["question,span", *rows]) + "\n", "utf-8")
    (tmp_path / "my_system.py").write_text(SYSTEM, "utf-8")
    made = run(f"rankgate eval eval/questions.csv {OPTIONS} --out out", {}, tmp_path)
    assert (tmp_path / "out" / "result.json").is_file(), made.stderr
    (tmp_path / "out" / "result.json").replace(folder / "baseline.json")
    return tmp_path


OPTIONS = "--corpus eval/corpus.jsonl --system my_system:stage --scorer my_system:scorer"


def run(command, env, folder):
    """As the runner does: bash that stops at the first error, with the workflow's variables."""
    own = str(Path(sys.executable).parent)
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, **env, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def check(workflow, project):
    """The two steps, with this system in place of the default index and scorer."""
    variables = {k: v for k, v in workflow["env"].items() if "${{" not in v}
    command = shell(workflow, "Check").replace(
        '--corpus "$CORPUS"', f"{OPTIONS.replace('eval/corpus.jsonl', '$CORPUS')}"
    )
    assert "my_system:stage" in command
    done = run(command, variables, project)
    summary = project / "summary.md"
    told = run(
        shell(workflow, "Summary"), {**variables, "GITHUB_STEP_SUMMARY": str(summary)}, project
    )
    assert told.returncode == 0, told.stderr
    return done, summary.read_text("utf-8")


def test_it_is_a_workflow_whose_steps_all_do_something(workflow):
    # YAML 1.1 reads the key `on` as true.
    assert set(workflow[True]) == {"pull_request", "workflow_dispatch"}
    assert workflow["permissions"] == {"contents": "read"}
    assert all(("uses" in s) != ("run" in s) for s in steps(workflow))
    assert [s["uses"] for s in steps(workflow) if "uses" in s] == [
        "actions/checkout@v4",
        "actions/setup-python@v5",
        "actions/cache@v4",
        "actions/upload-artifact@v4",
    ]
    cached = next(s["with"]["path"] for s in steps(workflow) if "cache@" in s.get("uses", ""))
    kept = next(s["with"]["path"] for s in steps(workflow) if "artifact@" in s.get("uses", ""))
    assert f"--cache {cached} --out {kept} " in shell(workflow, "Check")


def test_the_summary_is_written_also_where_the_check_failed(workflow):
    (summary,) = [s for s in steps(workflow) if s.get("name") == "Summary"]
    assert summary["if"] == "always()"


def test_an_unchanged_system_passes_and_a_worse_one_fails(workflow, project):
    done, summary = check(workflow, project)
    assert done.returncode == 0, done.stderr
    assert "PASS" in summary and "No query moved." in summary and "**rankgate:" in summary
    (project / "worse").touch()
    (project / "summary.md").unlink()
    done, summary = check(workflow, project)
    assert done.returncode == 1, done.stderr
    assert "FAIL: worse than the baseline" in summary and "ndcg@10 1.000 ->" in summary
