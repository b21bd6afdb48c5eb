"""Every example of the framework components runs offline, without a warning, and says something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXPECTED = {
    "langchain_over_chroma.py": ["skipped (clear_winner", "E24 means", "refused (below_floor"],
    "langchain_hybrid.py": ["net-2: rank 1 -> 1", "without the second stage"],
    "langchain_compressor.py": ["Returns are accepted", "nothing relevant"],
    "llamaindex_rerank.py": ["Tickets cost twelve", "nothing relevant"],
}


def test_each_example_is_listed_here():
    there = {f.name for pattern in ("langchain_*", "llamaindex_*") for f in FOLDER.glob(pattern)}
    assert there == set(EXPECTED)


@pytest.mark.model
@pytest.mark.parametrize("name", EXPECTED)
def test_example(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / name)],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in EXPECTED[name]:
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == [], "an example left files behind"
