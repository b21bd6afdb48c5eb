"""Nobody else on the machine reads the data folder."""

import os

import ingest_files as files
import pytest
import server_rig as rig
import typer
from typer.testing import CliRunner

from rag_app.cli.ingest import register
from rag_app.server.keys import KeyStore

_OTHERS = 0o077


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    assert os.umask(before) == 0o022, "what the command changes it also puts back"


def test_a_data_folder_is_its_owners_alone(tmp_path, caplog):
    settings = files.make_settings(tmp_path)
    KeyStore(settings.data_dir).create(name="ann")
    assert settings.data_dir.stat().st_mode & _OTHERS == 0
    settings.data_dir.chmod(0o755)
    with rig.make(tmp_path, files)[1]:
        assert settings.data_dir.stat().st_mode & _OTHERS == 0
    assert "mode 700 now" in caplog.text


def test_what_ingestion_makes_is_readable_by_its_owner_alone(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "harbour.txt").write_text("The harbour master logs every ship.")
    data = tmp_path / "data"
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, ["ingest", str(docs), "--data-dir", str(data)])
    assert done.exit_code == 0, done.output
    made = [data, *data.rglob("*")]
    assert len(made) > 8
    assert [p for p in made if p.stat().st_mode & _OTHERS] == []
