"""What the README and the documentation show runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def snippets():
    """Every Python block that says it is complete, and the README's first."""
    found = [("README.md", BLOCK.findall((ROOT / "README.md").read_text("utf-8"))[0])]
    for page in sorted((ROOT / "docs").glob("*.md")):
        found += [
            (page.name, code)
            for code in BLOCK.findall(page.read_text("utf-8"))
            if code.startswith("# runnable")
        ]
    return found


SNIPPETS = snippets()


def test_there_are_snippets_to_run():
    assert len(SNIPPETS) >= 9


def test_no_page_has_a_block_that_nobody_runs():
    for page in sorted((ROOT / "docs").glob("*.md")):
        for code in BLOCK.findall(page.read_text("utf-8")):
            assert code.startswith("# runnable"), f"{page.name}: a block is not marked"


@pytest.mark.parametrize(
    ("page", "code"), SNIPPETS, ids=[f"{page}-{i}" for i, (page, _) in enumerate(SNIPPETS)]
)
def test_it_runs(page, code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "RANKGATE_TOKEN_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{page}:\n{done.stderr}"
    if page == "README.md":
        assert done.stdout.split()[-1] == "['b']"


PRELUDE = """
from langchain_chroma import Chroma
from langchain_core.embeddings import DeterministicFakeEmbedding

vectorstore = Chroma.from_texts(
    ["the gate looks at margins", "bread needs salt"],
    DeterministicFakeEmbedding(size=384),
    collection_metadata={"hnsw:space": "cosine"},
)
"""


def test_the_readmes_langchain_lines_run_on_a_chroma_store(tmp_path):
    code = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))[1]
    done = subprocess.run(
        [sys.executable, "-c", f"{PRELUDE}{code}\nprint(type(documents).__name__)"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "list"
