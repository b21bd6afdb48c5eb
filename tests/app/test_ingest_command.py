"""`rankgate ingest`: the table, the JSON, the exit codes."""

import json

import ingest_files as files
import pytest
import typer
from typer.testing import CliRunner

from rag_app.cli.ingest import register
from rag_app.index.embeddings import Identity
from rankgate.errors import RankgateError


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    """The command with the small embedder in place of the 90 MB one, in an empty folder."""
    import rag_app.index.store

    embedder = files.FakeEmbedder()
    known = Identity(name=embedder.name, sha256=embedder.sha256)
    monkeypatch.setattr(rag_app.index.store, "identify", lambda settings, given=None: known)
    monkeypatch.setattr(rag_app.index.store, "load_embedder", lambda settings: embedder)
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    runner = CliRunner()
    return lambda *args: runner.invoke(app, ["ingest", *args], env={"COLUMNS": "120"})


def test_a_table_and_exit_code_0(invoke, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text(files.GUIDE, "utf-8")
    result = invoke("docs")
    assert result.exit_code == 0, result.output
    assert "added" in result.stdout and "chunks embedded" in result.stdout
    assert (tmp_path / ".rankgate" / "manifest.sqlite").is_file()


def test_json_alone_on_stdout_and_exit_code_4_where_a_file_is_broken(invoke, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text(files.GUIDE, "utf-8")
    (tmp_path / "docs" / "broken.pdf").write_bytes(b"%PDF-1.4 cut off")
    (tmp_path / "docs" / "legacy.txt").write_bytes("Grüße".encode("cp1252"))
    result = invoke("docs", "--json", "--collection", "mine", "--data-dir", "index")
    assert result.exit_code == 4
    report = json.loads(result.stdout)
    assert report["collection"] == "mine"
    assert report["added"] == ["docs/guide.md", "docs/legacy.txt"]
    assert [(f["source"], f["reason"]) for f in report["failed"]] == [("docs/broken.pdf", "broken")]
    assert "Windows-1252" in report["notes"]["docs/legacy.txt"][0]
    assert (tmp_path / "index").is_dir()
    again = invoke("docs", "--collection", "mine", "--data-dir", "index")
    assert again.exit_code == 4
    assert "failed: docs/broken.pdf: broken: " in again.stdout


def test_nothing_found_is_an_error_that_the_command_line_maps_to_2(invoke, tmp_path):
    result = invoke("absent")
    assert isinstance(result.exception, RankgateError)
    assert "no file or folder at absent" in str(result.exception)
    assert getattr(result.exception, "exit_code", 2) == 2
    assert not (tmp_path / ".rankgate").exists()
    assert invoke().exit_code == 2


def test_rebuild(invoke, tmp_path):
    (tmp_path / "one.md").write_text("# One\n\nWords.")
    (tmp_path / "two.md").write_text("# Two\n\nWords.")
    assert json.loads(invoke("one.md", "two.md", "--json").stdout)["documents"] == 2
    report = json.loads(invoke("one.md", "--rebuild", "--json").stdout)
    assert (report["documents"], report["added"]) == (1, ["one.md"])


def test_help_names_the_exit_codes(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    assert "Exit codes" in result.stdout
