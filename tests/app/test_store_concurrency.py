"""One process, several collections, readers while documents are being replaced."""

import threading

import ingest_files as files
import pytest

from rag_app.ask.first_stage import HybridFirstStage
from rag_app.errors import StoreLockedError
from rag_app.index.data_folder import DataFolder
from rag_app.index.store import Store
from rag_app.ingest.ingestion import ingest_into


def test_collections_share_an_opened_folder_and_not_their_passages(tmp_path):
    embedder = files.FakeEmbedder()
    (tmp_path / "a.txt").write_text("Apples ripen in autumn.")
    (tmp_path / "b.txt").write_text("Bridges rust in winter.")
    settings = files.make_settings(tmp_path)
    with DataFolder(settings.data_dir) as folder:
        stores = {}
        for name in ("apples", "bridges"):
            own = settings.model_copy(update={"collection": name})
            stores[name] = Store.open(own, embedder=embedder, folder=folder)
        ingest_into(stores["apples"], [tmp_path / "a.txt"])
        ingest_into(stores["bridges"], [tmp_path / "b.txt"])
        texts = {
            name: [c.text for c in HybridFirstStage(store).candidates("ripen rust", 10)]
            for name, store in stores.items()
        }
        assert len(texts["apples"]) == len(texts["bridges"]) == 1
        assert "Apples" in texts["apples"][0] and "Bridges" in texts["bridges"][0]
        stores["apples"].close()
        assert HybridFirstStage(stores["bridges"]).candidates("rust", 10)
        with pytest.raises(StoreLockedError):
            DataFolder(settings.data_dir, wait_s=0.1)
        stores["bridges"].close()
    DataFolder(settings.data_dir, wait_s=0.1).close()


def test_readers_see_old_or_new_passages_while_documents_are_replaced(tmp_path):
    embedder = files.FakeEmbedder()
    settings = files.make_settings(tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    stable = docs / "stable.txt"
    stable.write_text("The harbour master logs every ship.")

    def write(version):
        for n in range(4):
            text = f"Ship {n} carries cargo version {version}.\n\n" * (3 + (version + n) % 4)
            (docs / f"ship{n}.txt").write_text(text)

    write(0)
    with Store.open(settings, embedder=embedder) as store:
        ingest_into(store, [docs])
        stage = HybridFirstStage(store)
        done = threading.Event()
        failures, asked = [], [0]

        def read():
            while not done.is_set():
                try:
                    found = stage.candidates("harbour master ship cargo version", 10)
                    assert any("harbour master" in c.text for c in found)
                    assert len({c.id for c in found}) == len(found)
                    assert all(c.dense is not None and c.bm25 is not None for c in found)
                    asked[0] += 1
                except BaseException as exc:
                    failures.append(exc)
                    return

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for version in range(1, 7):
                write(version)
                ingest_into(store, [docs])
        finally:
            done.set()
            for reader in readers:
                reader.join(30)
        assert failures == []
        assert asked[0] > 10
        final = stage.candidates("cargo version", 50)
        assert {c.text.split("version ")[1][0] for c in final if "version" in c.text} == {"6"}
