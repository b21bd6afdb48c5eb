"""The demo's four questions do what their headings say, on the project's own pages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One real run over docs/ in a folder of its own: (json run, printed run)."""
    folder = tmp_path_factory.mktemp("demo")
    program = str(Path(sys.executable).parent / "rankgate")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RANKGATE_")}
    done = [
        subprocess.run(
            [program, "demo", "--docs", str(ROOT / "docs"), *options],
            cwd=folder,
            env={**clean, "HF_HUB_OFFLINE": "1", "COLUMNS": "60", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        for options in (["--json"], [])
    ]
    for one in done:
        assert one.returncode == 0, one.stderr
    return json.loads(done[0].stdout), done[1].stdout


@pytest.mark.model
def test_four_questions_four_fates(run):
    skipped, changed, two, refused = run[0]["questions"]
    assert skipped["trace"]["status"] == "skipped"
    assert changed["trace"]["status"] == "reranked"
    assert changed["trace"]["kept"][0]["before"] > 1, "another passage leads now"
    assert len({s["source"] for s in two["sources"]}) >= 2
    assert refused["status"] == "refused"


@pytest.mark.model
def test_the_refusal_is_one_unwrapped_line_and_the_end_says_what_to_type(run):
    lines = run[1].splitlines()
    assert "I don't have this information" in lines
    assert any(line.endswith("bin/rankgate chat") for line in lines), "not on PATH: a path"
