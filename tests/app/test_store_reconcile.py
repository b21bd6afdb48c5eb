"""The store: what it answers, who may open it, and what it mends when it is opened."""

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import ingest_files as files
import numpy as np
import pytest

from rag_app.errors import StoreError, StoreLockedError, UnknownDocumentError
from rag_app.index.manifest_copy import repair_manifest, worded
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest
from rankgate.encoders import packed
from rankgate.errors import InputError
from rankgate.retrieve import Fusion, fuse_candidates


@pytest.fixture
def settings(tmp_path):
    return files.make_settings(tmp_path)


@pytest.fixture
def embedder():
    return files.FakeEmbedder()


@pytest.fixture
def filled(tmp_path, settings, embedder):
    """A filled data folder, and what it holds."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "guide.md").write_text(files.GUIDE, "utf-8")
    (folder / "floor.txt").write_text("The floor refuses weak passages.\n\nNothing is said then.")
    ingest([folder], settings, embedder=embedder)
    return look(settings, embedder)


def look(settings, embedder):
    with Store.open(settings, embedder=embedder) as store:
        return files.contents(store)


def test_an_empty_store_answers(settings, embedder):
    with Store.open(settings, embedder=embedder) as store:
        assert (store.count(), store.documents()) == (0, [])
        assert store.dense(np.ones(32, dtype=np.float32), 5) == {}
        assert store.cosines(np.ones(32, dtype=np.float32), []) == []
        assert store.fetch([]) == []
        assert store.bm25.search("words", 5) == {}
        assert store.profile().chunking == "40/8"


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_dense_scores_are_cosines_in_every_space(tmp_path, embedder, space):
    settings = files.make_settings(tmp_path, space=space)
    (tmp_path / "guide.md").write_text(files.GUIDE, "utf-8")
    ingest([tmp_path / "guide.md"], settings, embedder=embedder)
    with Store.open(settings, embedder=embedder) as store:
        vector = embedder.embed(["which command do I run to install"])[0]
        found = store.dense(vector, 100)
        assert len(found) == store.count()
        assert list(found.values()) == sorted(found.values(), reverse=True)
        texts = [text for text, _ in store.fetch(list(found))]
        expected = embedder.embed(texts) @ vector
        assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-5)
        assert store.cosines(vector, list(found)) == pytest.approx(expected.tolist(), abs=1e-5)
        backwards = list(reversed(found))
        assert store.cosines(vector, backwards) == pytest.approx(expected[::-1].tolist(), abs=1e-5)
        assert list(store.dense(vector, 2)) == list(found)[:2]


def test_it_feeds_the_first_stage(filled, settings, embedder):
    with Store.open(settings, embedder=embedder) as store:
        vector = store.embedder.embed(["weak passages"])[0]
        candidates = fuse_candidates(
            dense=store.dense(vector, 2),
            bm25=store.bm25.search("weak passages", 2),
            fusion=Fusion(),
            k=3,
            missing_dense=lambda ids: store.cosines(vector, ids),
            missing_bm25=lambda ids: store.bm25.scores("weak passages", ids),
            fetch=store.fetch,
        )
        assert candidates[0].metadata["document_id"] == "docs/floor.txt"
        assert all(c.dense is not None and c.bm25 is not None for c in candidates)


def test_unknown_ids_are_named(filled, settings, embedder):
    with Store.open(settings, embedder=embedder) as store:
        with pytest.raises(UnknownDocumentError, match="'nope'"):
            store.fetch(["nope"])
        with pytest.raises(UnknownDocumentError, match="'nope'"):
            store.cosines(np.ones(32, dtype=np.float32), ["nope"])
        with pytest.raises(UnknownDocumentError, match="'nope'"):
            store.document_text("nope")


def test_a_second_opener_is_told_who_holds_it(settings, embedder):
    with Store.open(settings, embedder=embedder):
        with pytest.raises(StoreLockedError, match="this process") as caught:
            Store.open(settings, embedder=embedder, wait_s=0.1)
        assert caught.value.pid is not None
    with Store.open(settings, embedder=embedder, wait_s=0.1) as store:
        assert store.count() == 0


def test_another_process_is_told_the_pid(settings, embedder):
    code = (
        "import sys; from pathlib import Path; from rag_app.index.lock import DataLock;"
        "lock = DataLock(Path(sys.argv[1]), wait_s=1); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(StoreLockedError, match=f"kill {holder.pid}") as caught:
            Store.open(settings, embedder=embedder, wait_s=0.1)
        assert caught.value.pid == holder.pid
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    # A holder that was killed holds nothing.
    Store.open(settings, embedder=embedder, wait_s=1).close()


def test_closing_twice_is_fine_and_a_closed_store_says_so(filled, settings, embedder):
    store = Store.open(settings, embedder=embedder)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.dense(np.ones(32, dtype=np.float32), 1)


@pytest.mark.parametrize("name", ["../up", "a/b", "", "..", "a..b", "x" * 70, "-dash"])
def test_bad_collection_names_are_refused(settings, embedder, name):
    with pytest.raises(InputError, match="collection's name"):
        Store.open(settings.model_copy(update={"collection": name}), embedder=embedder)
    assert not settings.data_dir.exists()


def test_a_data_folder_that_is_a_file(tmp_path, embedder):
    (tmp_path / "data").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(files.make_settings(tmp_path), embedder=embedder)


def truncated(folder):
    for path in folder.glob("*.npy"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "metadata is no JSON": lambda f: (f / "rankgate.json").write_text("{"),
    "metadata lacks the fingerprint": lambda f: (f / "rankgate.json").write_text(
        json.dumps({**json.loads((f / "rankgate.json").read_text()), "extra": {}})
    ),
    "of other passages": lambda f: (f / "rankgate.json").write_text(
        (f / "rankgate.json").read_text().replace('"fingerprint": "', '"fingerprint": "0')
    ),
    "arrays cut short": truncated,
    "arrays missing": lambda f: [p.unlink() for p in f.glob("*.npy")],
    "folder missing": shutil.rmtree,
    "a file instead": lambda f: (shutil.rmtree(f), f.write_text("x")),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_bm25_index_is_built_anew(filled, settings, embedder, how):
    folder = settings.data_dir / "bm25" / "default"
    (folder.parent / ".default-leftover").mkdir()
    with Store.open(settings, embedder=embedder) as store:
        expected = store.bm25.search("weak passages", 5)
        assert expected
    DAMAGE[how](folder)
    with Store.open(settings, embedder=embedder) as store:
        assert store.bm25.search("weak passages", 5) == expected
        assert files.contents(store) == filled
    assert [p.name for p in folder.parent.iterdir()] == ["default"]


def test_a_missing_chroma_folder_is_made_anew_without_encoding(filled, settings, embedder):
    shutil.rmtree(settings.data_dir / "chroma")
    embedder.encoded.clear()
    assert look(settings, embedder) == filled
    assert embedder.encoded == []


def test_without_token_vectors_too_everything_is_encoded_again(filled, settings, embedder):
    shutil.rmtree(settings.data_dir / "chroma")
    shutil.rmtree(settings.data_dir / "tokens")
    embedder.encoded.clear()
    assert look(settings, embedder) == filled
    assert sorted(embedder.encoded) == sorted(set(filled["texts"]))


@pytest.mark.parametrize("garbage", [b"garbage" * 999, b""])
def test_a_damaged_chroma_database_is_made_anew(filled, settings, embedder, caplog, garbage):
    for path in (settings.data_dir / "chroma").glob("chroma.sqlite3*"):
        path.write_bytes(garbage)
    with caplog.at_level(logging.WARNING, logger="rankgate"):
        assert look(settings, embedder) == filled
    assert any("missing in Chroma" in r.message or "made anew" in r.message for r in caplog.records)
    assert look(settings, embedder) == filled


def test_chroma_is_brought_to_what_the_manifest_says(filled, settings, embedder):
    with Store.open(settings, embedder=embedder) as store:
        store.index.delete(filled["chunks"][:2])
        store.index.upsert(["stray"], np.ones((1, 32), dtype=np.float32))
        assert sorted(store.index.ids()) != filled["chroma"]
    assert look(settings, embedder) == filled


def test_pending_documents_are_finished(filled, settings, embedder, tmp_path):
    """A process that stops right after the manifest was written."""
    with Store.open(settings, embedder=embedder) as store:
        ids = filled["chunks"]
        store.index.delete(ids)
        files.run_sql(store.manifest.path, "UPDATE document SET state = 'pending'")
        store.manifest.set_dirty(store.collection)
    assert look(settings, embedder) == filled


def zeros(path):
    path.write_bytes(b"\0" * path.stat().st_size)


def half(path):
    os.truncate(path, path.stat().st_size // 2)


def middle(path):
    whole = bytearray(path.read_bytes())
    whole[8192:40960] = os.urandom(32768)
    path.write_bytes(whole)


def another(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("how", [zeros, half, middle, another])
def test_a_damaged_manifest_is_brought_back(settings, embedder, filled, how):
    """Once its whole folder was to be deleted, with uploads, conversations and keys."""
    keys = settings.data_dir / "keys.sqlite"
    keys.write_bytes(b"not to be touched")
    how(settings.data_dir / "manifest.sqlite")
    with pytest.raises(StoreError, match=r"doctor --repair|rights") as told:
        look(settings, embedder)
    assert "elete" not in str(told.value)
    said = repair_manifest(settings.data_dir)
    assert said is not None and said.endswith("the copy of the last ingestion is in its place")
    assert look(settings, embedder) == filled
    assert repair_manifest(settings.data_dir) is None
    assert keys.read_bytes() == b"not to be touched"


@pytest.mark.parametrize("how", [lambda path: path.unlink(), lambda path: os.truncate(path, 0)])
def test_a_lost_manifest_comes_back_by_itself(settings, embedder, filled, how, caplog):
    how(settings.data_dir / "manifest.sqlite")
    assert look(settings, embedder) == filled
    assert "was lost" in caplog.text


def test_a_damaged_manifest_without_a_copy_is_put_aside(settings, embedder, filled):
    zeros(settings.data_dir / "manifest.sqlite")
    (settings.data_dir / "manifest.copy.sqlite").write_bytes(b"damaged too")
    assert "no sound copy" in str(repair_manifest(settings.data_dir))
    assert look(settings, embedder)["documents"] == []
    assert list(settings.data_dir.glob("manifest.sqlite.damaged-*"))


@pytest.mark.parametrize(
    ("limit", "said"), [("max_page_count = 1", "disk is full"), ("query_only = 1", "rights")]
)
def test_a_full_or_read_only_disk_is_not_called_damage(tmp_path, limit, said):
    path = tmp_path / "m.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE t (x)")
        db.execute(f"PRAGMA {limit}")
        with pytest.raises(StoreError, match=said) as told, worded(path):
            db.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert "repair" not in str(told.value) and "damaged" not in str(told.value)


def test_a_manifest_of_a_later_version_is_left_alone(settings, embedder, filled):
    with Store.open(settings, embedder=embedder) as store:
        files.run_sql(store.manifest.path, "PRAGMA user_version=99")
    with pytest.raises(StoreError, match="version 99"):
        Store.open(settings, embedder=embedder)


@pytest.mark.model
def test_with_the_real_encoder(tmp_path):
    settings = files.make_settings(tmp_path, chunk_tokens=200, chunk_overlap=40)
    path = tmp_path / "guide.md"
    path.write_text(files.GUIDE + "\n\n# Cats\n\nCats sleep most of the day.\n" * 3, "utf-8")
    report = ingest([path], settings)
    assert report.embedded > 0
    with Store.open(settings) as store:
        profile = store.profile()
        assert (profile.embedder, profile.chunking) == ("all-MiniLM-L6-v2", "200/40")
        vector = store.embedder.embed(["How long do kittens rest?"])[0]
        found = store.dense(vector, 3)
        text, _ = store.fetch(list(found)[:1])[0]
        assert "sleep" in text
        assert store.cosines(vector, list(found)) == pytest.approx(list(found.values()), abs=1e-4)
        texts = [t for t, _ in store.fetch(store.manifest.chunk_ids("default"))]
        kept = store.token_store.get_many(texts)
        assert set(kept) == set(texts)
        assert not any(v.truncated for v in kept.values())
        fresh = store.embedder.encode(texts)
        for text, vectors in zip(texts, fresh, strict=True):
            assert np.array_equal(kept[text].codes, packed(vectors).codes)
            np.testing.assert_allclose(kept[text].pooled, vectors.pooled, atol=1e-5)
