"""The manifest: what is written comes back, transactions are whole, collections are apart."""

from dataclasses import replace

import pytest

from rag_app.errors import UnknownDocumentError
from rag_app.index.manifest import Manifest
from rag_app.index.records import Chunk, CollectionRecord, DocumentRecord, Entry


def chunk(number, document_id="a.md", text=None):
    body = f"text {number}" if text is None else text
    return Chunk(
        id=f"{document_id}-{number}",
        document_id=document_id,
        position=number,
        text=body,
        heading=("One", "Zwei > 2"),
        page=number or None,
        start=10 * number,
        end=10 * number + len(body),
        prefix="One\n\n",
    )


def entry(document_id="a.md", numbers=(0, 1), text=None):
    record = DocumentRecord(
        id=document_id,
        source=f"docs/{document_id}",
        path=f"/x/{document_id}",
        found_at=f"/y/{document_id}",
        kind="md",
        title="Title",
        sha256="ab",
        size=9,
        mtime_ns=5,
        pages=3,
        pipeline="p",
    )
    return Entry(
        document=record,
        text=f"whole {document_id}",
        chunks=[chunk(n, document_id, text) for n in numbers],
    )


@pytest.fixture
def manifest(tmp_path):
    opened = Manifest(tmp_path / "manifest.sqlite")
    for name in ("default", "other"):
        opened.put_collection(
            CollectionRecord(
                name=name,
                embedder="e",
                sha256="s",
                dimension=3,
                space="cosine",
                chunking="200/40",
            )
        )
    yield opened
    opened.close()


def test_what_is_written_comes_back_after_reopening(manifest, tmp_path):
    written = entry()
    assert manifest.replace("default", [written]) == set()
    manifest.close()
    again = Manifest(tmp_path / "manifest.sqlite")
    try:
        assert again.documents("default") == [replace(written.document, state="pending", chunks=2)]
        assert again.text("default", "a.md") == "whole a.md"
        found = again.passages("default", ["a.md-1", "a.md-0", "nope"])
        assert set(found) == {"a.md-0", "a.md-1"}
        second = found["a.md-1"]
        assert (second.heading, second.page, second.start) == (("One", "Zwei > 2"), 1, 10)
        assert second.indexed_text[second.body_offset :] == "text 1"
        assert found["a.md-0"].page is None
        assert (second.source, second.title) == ("docs/a.md", "Title")
        assert again.collection("default").dirty
        again.mark_indexed("default")
        assert [d.state for d in again.documents("default")] == ["indexed"]
    finally:
        again.close()


def test_replacing_names_the_chunks_that_are_no_more(manifest):
    manifest.replace("default", [entry(numbers=(0, 1, 2))])
    assert manifest.replace("default", [entry(numbers=(1, 2, 3))]) == {"a.md-0"}
    assert manifest.chunk_ids("default") == ["a.md-1", "a.md-2", "a.md-3"]
    assert manifest.stale_texts("default") == ["One\n\ntext 0"]
    manifest.forget_stale("default")
    assert manifest.stale_texts("default") == []


def test_a_text_that_another_chunk_has_is_not_stale(manifest):
    manifest.replace("default", [entry("a.md", (0,), "same"), entry("b.md", (0,), "same")])
    assert manifest.remove("default", ["a.md"]) == {"a.md-0"}
    assert manifest.stale_texts("default") == []
    manifest.remove("default", ["b.md"])
    assert manifest.stale_texts("default") == ["One\n\nsame"]


def test_a_write_that_fails_half_way_leaves_nothing(manifest):
    manifest.replace("default", [entry()])
    before = (manifest.documents("default"), manifest.texts("default"))
    twice = entry("b.md", (0, 0))
    with pytest.raises(Exception, match="UNIQUE"):
        manifest.replace("default", [entry(numbers=(5,)), twice])
    assert (manifest.documents("default"), manifest.texts("default")) == before
    # And the connection goes on working.
    manifest.replace("default", [entry("b.md")])
    assert len(manifest.documents("default")) == 2


def test_collections_are_apart(manifest):
    manifest.replace("default", [entry()])
    manifest.replace("other", [entry(numbers=(0, 1, 2))])
    manifest.remove("default", ["a.md"])
    assert manifest.chunk_ids("default") == []
    assert len(manifest.chunk_ids("other")) == 3
    manifest.empty_collection("other")
    assert manifest.collection("other") is None
    assert [c.name for c in manifest.collections()] == ["default"]
    with pytest.raises(UnknownDocumentError, match=r"'a\.md'"):
        manifest.text("other", "a.md")


def test_many_ids_at_once(manifest):
    numbers = tuple(range(1, 1300))
    manifest.replace("default", [entry(numbers=numbers)])
    ids = [f"a.md-{n}" for n in numbers]
    assert list(manifest.passages("default", ids)) != []
    assert set(manifest.passages("default", ids)) == set(ids)
    assert manifest.chunk_ids("default") == ids
