"""What `rankgate doctor` calls healthy it has tried."""

import ingest_files as files
import server_rig as rig

from rag_app.checks import contents


def verdicts(settings, store):
    return {c.name: (c.verdict, c.detail) for c in contents(settings, store)}


def test_an_index_that_lost_passages_or_answers_nothing_is_a_problem(tmp_path, monkeypatch):
    settings, opened = rig.make(tmp_path, files)
    with opened:
        store = opened.store("default")
        sound = verdicts(settings, store)
        assert sound["vectors"][0] == sound["bm25"][0] == "ok"
        monkeypatch.setattr(store.bm25, "search", lambda query, k: {})
        store.index.delete(store.manifest.chunk_ids("default")[:1])
        found = verdicts(settings, store)
    assert found["vectors"][0] == found["bm25"][0] == "problem"
    assert "2 chunks, but the manifest has 3" in found["vectors"][1]
    assert "finds nothing" in found["bm25"][1] and "Delete the folder bm25" in found["bm25"][1]
