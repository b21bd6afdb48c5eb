"""The notebook runs from documents to the end-to-end table, in a fresh kernel."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "end_to_end.ipynb"


@pytest.mark.model
# What ipykernel and its messaging leave open is theirs.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    client = nbclient.NotebookClient(
        book, timeout=240, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    said = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in book.cells
        for output in cell.get("outputs", [])
    ]
    table = next(s for s in said if "first_stage" in s and "faithfulness" in s and "mean" in s)
    assert "answer_relevancy" in table
    assert any("not_enough_data" in s for s in said)
    # The committed notebook carries no output, so that a run of it changes nothing.
    committed = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in committed.cells)
