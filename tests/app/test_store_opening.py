"""Opening a store and asking one question reads what the question needs, not the collection."""

import ingest_files as files
import pytest

from rag_app.ask.pipeline import Pipeline
from rag_app.index.data_folder import DataFolder
from rag_app.index.store import Store
from rag_app.index.vectors import VectorIndex
from rag_app.ingest.ingestion import ingest
from rankgate.testing import FakeScorer

PASSAGES = 240
K = 5


class Counting:
    """A manifest that counts the rows which it hands out."""

    def __init__(self, manifest):
        self._manifest = manifest
        self.rows = 0

    def __getattr__(self, name):
        found = getattr(self._manifest, name)
        if not callable(found):
            return found

        def counted(*args):
            rows = found(*args)
            self.rows += len(rows) if isinstance(rows, (list, set, dict)) else 0
            return rows

        return counted


@pytest.fixture
def listed(monkeypatch):
    """How many ids Chroma was asked to list."""
    found = []
    ids = VectorIndex.ids

    def counted(index):
        known = ids(index)
        found.append(len(known))
        return known

    monkeypatch.setattr(VectorIndex, "ids", counted)
    return found


@pytest.fixture
def settings(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for n in range(PASSAGES):
        (docs / f"{n:03}.txt").write_text(f"Lighthouse number {n} burns lamp{n} every night.")
    settings = files.make_settings(tmp_path, k=K)
    ingest([docs], settings, embedder=files.FakeEmbedder())
    return settings


def opened(settings, manifest_of=lambda folder: Counting(folder.manifest)):
    folder = DataFolder(settings.data_dir)
    plain = folder.manifest
    folder.manifest = counting = manifest_of(folder)
    store = Store.open(settings, embedder=files.FakeEmbedder(), folder=folder)

    def close():
        store.close()
        folder.manifest = plain
        folder.close()

    return store, counting, close


def test_one_question_does_not_page_through_the_collection(settings, listed):
    store, counting, close = opened(settings)
    assert store.count() == PASSAGES
    result = Pipeline(store.settings, store, scorer=FakeScorer()).answer("Where is lamp17?")
    close()
    assert "lamp17" in result.answer.text
    assert listed == []
    # The collections, and of two lists of 50 what is present and what is fetched.
    assert counting.rows <= 1 + 2 * 100 + 2 * K < PASSAGES


def test_what_was_changed_behind_its_back_is_still_found(settings, listed):
    store, _, close = opened(settings)
    gone = next(iter(store.dense(store.embedder.embed(["lamp17"])[0], 1)))
    close()
    index = VectorIndex.of(settings, suspect=False)
    index.delete([gone])
    index.close()
    store, _, close = opened(settings)
    assert listed == [PASSAGES - 1]
    assert gone in store.dense(store.embedder.embed(["lamp17"])[0], 1)
    close()
    _, counting, close = opened(settings)
    close()
    assert (len(listed), counting.rows <= 1) == (1, True)


def test_vectors_that_were_made_for_other_passages_are_found_by_what_they_note(settings, listed):
    """As many as there should be: an older copy of the folder, or of the server's disk."""
    index = VectorIndex.of(settings, suspect=False)
    index.note("made for others")
    index.close()
    _, _, close = opened(settings)
    close()
    assert listed == [PASSAGES]


def test_a_writer_that_did_not_finish_is_found(settings, listed):
    folder = DataFolder(settings.data_dir)
    folder.manifest.set_dirty("default")
    folder.close()
    _, _, close = opened(settings)
    close()
    assert listed == [PASSAGES]
