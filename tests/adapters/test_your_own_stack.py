"""The notebook runs: from a stack of one's own, without a label, to a gate and a floor in both."""

import os
import sys
from pathlib import Path

import pytest

# Not among what the oldest supported frameworks are tried with.
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "your_own_stack.ipynb"


# What ipykernel and its messaging leave open is theirs.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv(
        "PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    )
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "committed without output"
    client = nbclient.NotebookClient(
        book, timeout=400, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    said = "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in book.cells
        for output in cell.get("outputs", [])
    )
    # Before: no gate, no floor, and it says so.
    assert "no_policy" in said
    # Calibrated: all four claims, by questions that nobody judged; the shell wraps its lines.
    whole = said.replace("\n", "")
    assert "skipped questions whose passages or refusal skipping changes: at most 5.0%" in whole
    assert "foreign questions that are answered without the words weak evidence: at most" in whole
    assert "your questions that are refused: at most 5.0%" in whole
    # Served by the same file in LangChain over Chroma and LlamaIndex over FAISS.
    assert "how loud is the oven? skipped" in said and "['oven-noise']" in said
    asked = [line for line in said.splitlines() if line.startswith("who was the first king")]
    # Either guaranteed end: no question without an answer gets one without a word.
    assert len(asked) == 2 and all(("weak" in a.lower()) or ("refuse" in a) for a in asked)
    assert "'The oven is as loud as" in said
    assert "FaissVectorStore: squared L2 distance (lower is better)" in said
    last = said.splitlines()[-1]
    assert last.startswith("skipped ") and float(last.split("refused ")[1].split("%")[0]) < 5.0
