"""Backup and restore, done: what is copied answers as the original did, at another place."""

import json
import os
import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import ingest_files as files
import pytest

from rag_app.ask.conversations import Conversations
from rag_app.errors import StoreError
from rag_app.index.backup import back_up
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest
from rag_app.server.collections import Collections
from rag_app.server.intake.uploads import Uploads
from rag_app.server.keys import KeyStore
from rankgate.errors import InputError


@pytest.fixture
def embedder():
    return files.FakeEmbedder()


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "guide.md").write_text(files.GUIDE, "utf-8")
    (folder / "floor.txt").write_text("The floor refuses weak passages.\n\nNothing is said then.")
    return folder


@pytest.fixture
def settings(tmp_path):
    return files.make_settings(tmp_path / "old")


def look(settings, embedder):
    with Store.open(settings, embedder=embedder) as store:
        return files.contents(store)


def asked(settings, embedder):
    vector = embedder.embed(["what does the gate decide"])[0]
    with Store.open(settings, embedder=embedder) as store:
        dense = store.dense(vector, 5)
        return dense, store.bm25.search("weak passages", 5), store.fetch(list(dense))


def fill(settings, docs, embedder):
    settings.data_dir.mkdir(parents=True)
    ingest([docs], settings, embedder=embedder)
    record, key = KeyStore(settings.data_dir).create(name="me", collections=["default"])
    talk = Conversations(settings.data_dir)
    kept = talk.create(owner=record.id, collection="default")
    talk.append(
        kept.id,
        owner=record.id,
        question="What does the gate decide?",
        answer="Whether to rerank.",
        status="answered",
        details={},
    )
    talk.close()
    (settings.data_dir / "session.secret").write_text("secret")
    (settings.data_dir / "ratings.jsonl").write_text("{}\n")
    return record, key, kept.id


@pytest.mark.parametrize("vectors", [True, False])
def test_a_restored_copy_answers_the_same(tmp_path, settings, docs, embedder, vectors):
    record, key, talk = fill(settings, docs, embedder)
    before, answers = look(settings, embedder), asked(settings, embedder)
    made = back_up(settings.data_dir, tmp_path / "copy", vectors=vectors)
    assert made.files == sum(p.is_file() for p in made.folder.rglob("*"))
    assert made.size == sum(p.stat().st_size for p in made.folder.rglob("*") if p.is_file())
    assert not (made.folder / "chroma").exists() and not (made.folder / "bm25").exists()
    # The disk is lost; the copy goes to another place, under the folder's own name.
    shutil.rmtree(tmp_path / "old")
    restored = files.make_settings(tmp_path / "new")
    restored.data_dir.parent.mkdir()
    shutil.copytree(made.folder, restored.data_dir)
    embedder.encoded.clear()
    assert look(restored, embedder) == before
    assert (embedder.encoded == []) is vectors, "kept vectors spare the embedding"
    assert asked(restored, embedder) == answers
    assert KeyStore(restored.data_dir).authenticate(key).id == record.id
    conversations = Conversations(restored.data_dir)
    assert conversations.get(talk, owner=record.id).turns[0].answer == "Whether to rerank."
    conversations.close()
    assert (restored.data_dir / "session.secret").read_text() == "secret"


def test_a_plain_copy_of_a_stopped_folder_does_too(tmp_path, settings, docs, embedder):
    fill(settings, docs, embedder)
    before = look(settings, embedder)
    shutil.copytree(settings.data_dir, tmp_path / "new" / "data")
    embedder.encoded.clear()
    assert look(files.make_settings(tmp_path / "new"), embedder) == before
    assert embedder.encoded == []


def test_it_is_for_its_owner_alone(tmp_path, settings, docs, embedder):
    fill(settings, docs, embedder)
    made = back_up(settings.data_dir, tmp_path / "copy")
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((made.folder / "keys.sqlite").stat().st_mode) == 0o600


def test_while_documents_are_being_written(tmp_path, settings, docs, embedder):
    """Every copy is of one moment: it opens without a loss, whatever was going on."""
    fill(settings, docs, embedder)
    for i in range(40):
        (docs / f"more{i}.md").write_text(f"# More {i}\n\nWords {i} of a document.\n")
    stop = threading.Event()

    def write():
        with Store.open(settings, embedder=embedder) as store:
            from rag_app.ingest.ingestion import ingest_into

            turn = 0
            while not stop.is_set():
                turn += 1
                for i in range(0, 40, 3):
                    (docs / f"more{i}.md").write_text(f"# More {i}\n\nOther words {i} {turn}.\n")
                ingest_into(store, [docs])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [back_up(settings.data_dir, tmp_path / f"c{i}" / "data") for i in range(4)]
    finally:
        stop.set()
        writer.join(60)
    for number, made in enumerate(copies):
        have = look(files.make_settings(made.folder.parent), embedder)
        assert have["chroma"] == sorted(have["chunks"]) == sorted(have["bm25"]), number
        assert {state for _, state, *_ in have["documents"]} == {"indexed"}
        assert len(have["documents"]) >= 2


def test_uploads_come_along_and_are_not_doubled(tmp_path, settings, embedder):
    def uploads(settings, work):
        with Collections(settings, embedder=embedder) as opened:
            work(Uploads(opened))
            opened.write("default", lambda store: None).result(60)
            return files.contents(opened.store("default"))

    first = uploads(settings, lambda u: u.take("default", [("note.txt", b"Words of an upload.")]))
    assert [d[1] for d in first["documents"]] == ["indexed"]
    made = back_up(settings.data_dir, tmp_path / "copy")
    shutil.rmtree(tmp_path / "old")
    restored = files.make_settings(tmp_path / "new")
    restored.data_dir.parent.mkdir()
    made.folder.rename(restored.data_dir)
    assert uploads(restored, lambda u: u.resume()) == first
    with Store.open(restored, embedder=embedder) as store:
        (document,) = store.documents()
        assert Path(document.path).is_file(), "deleting it must find its file"
        assert Path(document.path).is_relative_to(restored.data_dir)


def unreadable(content):
    content[4096:] = os.urandom(len(content) - 4096)


def readable_and_wrong(content):
    """The list of free places in a page points nowhere: rows are read, and trust is gone."""
    content[4097:4099] = b"\x0f\xf8"


@pytest.mark.parametrize("spoil", [unreadable, readable_and_wrong])
def test_there_is_no_half_a_copy(tmp_path, settings, docs, embedder, spoil):
    fill(settings, docs, embedder)
    keys = settings.data_dir / "keys.sqlite"
    content = bytearray(keys.read_bytes())
    spoil(content)
    keys.write_bytes(content)
    with pytest.raises(StoreError, match=r"keys\.sqlite|malformed"):
        back_up(settings.data_dir, tmp_path / "copy")
    assert [p.name for p in tmp_path.iterdir() if "copy" in p.name] == []


def test_where_it_may_go(tmp_path, settings, docs, embedder):
    with pytest.raises(InputError, match="no data folder"):
        back_up(tmp_path, tmp_path / "copy")
    fill(settings, docs, embedder)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="there already"):
        back_up(settings.data_dir, tmp_path / "there")
    with pytest.raises(InputError, match="inside the data folder"):
        back_up(settings.data_dir, settings.data_dir / "copy")


def test_the_command_beside_a_holder_of_the_folder(tmp_path, settings, docs, embedder):
    """The lock is held, as by a running server; a backup does not want it."""
    from typer.testing import CliRunner

    from rankgate.cli import build_app

    fill(settings, docs, embedder)
    with Store.open(settings, embedder=embedder):
        done = CliRunner().invoke(
            build_app(),
            ["backup", str(tmp_path / "c"), "--data-dir", str(settings.data_dir), "--json"],
        )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["folder"] == str(tmp_path / "c")
    copied = sqlite3.connect(tmp_path / "c" / "manifest.sqlite")
    assert copied.execute("SELECT count(*) FROM document").fetchone() == (2,)
    copied.close()


@pytest.mark.parametrize("dimension", [32, 16])
def test_another_embedding_model(tmp_path, settings, docs, embedder, dimension):
    """Re-indexing as docs/operations.md tells it: refused first, then rebuilt, nothing mixed.

    The same length of vectors would mix silently; another one is an error deep inside Chroma.
    """
    from rag_app.errors import StoreMismatchError

    settings.data_dir.mkdir(parents=True)
    ingest([docs], settings, embedder=embedder)
    old = look(settings, embedder)
    new = files.FakeEmbedder("another", dimension=dimension)
    with pytest.raises(StoreMismatchError, match="--rebuild"):
        Store.open(settings, embedder=new)
    assert look(settings, embedder) == old, "the refusal changed nothing"
    report = ingest([docs], settings, embedder=new, rebuild=True)
    assert report.embedded == report.chunks
    with Store.open(settings, embedder=new) as store:
        have = files.contents(store)
        assert have["texts"] and sorted(have["texts"]) == sorted(old["texts"])
        assert not set(have["chunks"]) & set(old["chunks"])
        assert store.profile().embedder == "another"
        vectors = store.index.vectors(have["chunks"])
        expected = new.embed(have["texts"])
        for identifier, row in zip(have["chunks"], expected, strict=True):
            assert vectors[identifier] == pytest.approx(row, abs=1e-6)
    with pytest.raises(StoreMismatchError, match="'another'"):
        Store.open(settings, embedder=embedder)
