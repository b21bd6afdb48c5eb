"""Ingestion: added, changed, unchanged, removed, renamed, broken; ids that do not wander."""

import os
from pathlib import Path

import ingest_files as files
import pytest

from rag_app.errors import NothingToIngestError, ParseError, StoreMismatchError
from rag_app.index.store import Store
from rag_app.ingest.document import Limits
from rag_app.ingest.ingestion import ingest
from rag_app.ingest.parser_process import ParserProcess
from rag_app.ingest.walk import walk
from rankgate.errors import ConfigError


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "guide.md").write_text(files.GUIDE, "utf-8")
    (folder / "sub" / "notes.txt").write_text("Notes on the floor.\n\nIt refuses weak passages.")
    files.write_pdf(folder / "book.pdf", ["Page one of the book.", "Page two."], title="Book")
    files.write_docx(folder / "report.docx", [("Heading 1", "Report"), ("Normal", "It helped.")])
    (folder / "page.html").write_text("<h1>Page</h1><p>Some words of the page.</p>")
    for path in folder.rglob("*.*"):
        files.age(path)
    return folder


@pytest.fixture
def settings(tmp_path):
    return files.make_settings(tmp_path)


@pytest.fixture
def embedder():
    return files.FakeEmbedder()


def look(settings, embedder):
    with Store.open(settings, embedder=embedder) as store:
        return files.contents(store)


def test_every_kind_is_indexed_and_every_chunk_is_a_slice(docs, settings, embedder):
    seen = []
    report = ingest([docs], settings, embedder=embedder, progress=seen.append)
    names = [Path(source).name for source in report.added]
    assert names == ["book.pdf", "guide.md", "page.html", "report.docx", "notes.txt"]
    assert (report.documents, report.failed, report.skipped) == (5, (), {})
    assert report.embedded == report.chunks > 5
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 5, 5)
    assert seen[-1].chunks == report.chunks
    with Store.open(settings, embedder=embedder) as store:
        assert store.count() == report.chunks
        assert [d.id for d in store.documents()] == [
            "docs/book.pdf",
            "docs/guide.md",
            "docs/page.html",
            "docs/report.docx",
            "docs/sub/notes.txt",
        ]
        ids = store.manifest.chunk_ids(store.collection)
        for identifier, (text, meta) in zip(ids, store.fetch(ids), strict=True):
            whole = store.document_text(meta["document_id"])
            assert text[meta["body_offset"] :] == whole[meta["start"] : meta["end"]]
            assert meta["chunk_id"] == identifier
            assert meta["source"].startswith(docs.as_posix())
            assert ("page" in meta) == meta["source"].endswith(".pdf")
        state = files.contents(store)
    assert state["chroma"] == sorted(state["chunks"]) == sorted(state["bm25"])
    assert state["token_count"] == len(state["tokens"]) == len(set(state["texts"]))


def test_unchanged_files_cost_nothing(docs, settings, embedder):
    first = ingest([docs], settings, embedder=embedder)
    before = look(settings, embedder)
    embedder.encoded.clear()
    again = ingest([docs], settings, embedder=embedder)
    assert set(again.unchanged) == set(first.added)
    assert (again.added, again.changed, again.removed, again.embedded) == ((), (), (), 0)
    assert embedder.encoded == []
    # A new time alone changes nothing either: then the content is compared.
    os.utime(docs / "guide.md")
    touched = ingest([docs], settings, embedder=embedder)
    assert set(touched.unchanged) == set(first.added)
    assert embedder.encoded == []
    assert look(settings, embedder) == before


def test_same_size_and_time_but_too_fresh_to_be_trusted(tmp_path, settings, embedder):
    path = tmp_path / "a.txt"
    path.write_text("first words")
    stat = path.stat()
    ingest([path], settings, embedder=embedder)
    path.write_text("other words")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ingest([path], settings, embedder=embedder).changed == (path.as_posix(),)


def test_changed_files_are_replaced(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    (docs / "sub" / "notes.txt").write_text("Entirely new words.")
    report = ingest([docs], settings, embedder=embedder)
    assert [Path(s).name for s in report.changed] == ["notes.txt"]
    assert report.embedded == 1
    state = look(settings, embedder)
    assert not any("weak passages" in text for text in state["texts"])
    assert state["chroma"] == sorted(state["chunks"]) == sorted(state["bm25"])
    assert state["token_count"] == len(set(state["texts"]))


def test_removed_files_are_removed_but_only_below_the_given_folder(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    (docs / "guide.md").unlink()
    (docs / "sub" / "notes.txt").unlink()
    report = ingest([docs / "sub"], settings, embedder=embedder)
    assert [Path(s).name for s in report.removed] == ["notes.txt"]
    report = ingest([docs], settings, embedder=embedder)
    assert [Path(s).name for s in report.removed] == ["guide.md"]
    state = look(settings, embedder)
    assert [d[0] for d in state["documents"]] == [
        "docs/book.pdf",
        "docs/page.html",
        "docs/report.docx",
    ]
    assert state["chroma"] == sorted(state["chunks"]) == sorted(state["bm25"])


def test_a_named_file_that_is_gone_is_removed(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    (docs / "guide.md").unlink()
    report = ingest([docs / "guide.md"], settings, embedder=embedder)
    assert [Path(s).name for s in report.removed] == ["guide.md"]


def test_renamed_files_move_and_need_no_encoding(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    (docs / "sub" / "notes.txt").rename(docs / "sub" / "renamed.txt")
    report = ingest([docs], settings, embedder=embedder)
    assert [Path(s).name for s in report.added] == ["renamed.txt"]
    assert [Path(s).name for s in report.removed] == ["notes.txt"]
    # The words of the file's name stand in the indexed text: one passage is new.
    assert report.embedded == 1
    (docs / "guide.md").rename(docs / "the-guide-02.md")  # says no more than the title
    report = ingest([docs], settings, embedder=embedder)
    assert len(report.added) == len(report.removed) == 1
    assert report.embedded == 0


def test_two_files_alike_share_token_vectors_and_survive_each_other(tmp_path, settings, embedder):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a.md", "b.md"):
        (folder / name).write_text("# Same\n\nThe same words.")
    report = ingest([folder], settings, embedder=embedder)
    assert (report.chunks, report.embedded) == (2, 1)
    (folder / "a.md").unlink()
    ingest([folder], settings, embedder=embedder)
    state = look(settings, embedder)
    assert state["tokens"] == ["Same\n\nThe same words."]
    assert state["token_count"] == 1


def test_broken_files_are_reported_and_the_rest_goes_on(docs, settings, embedder):
    whole = (docs / "book.pdf").read_bytes()
    (docs / "cut.pdf").write_bytes(whole[: len(whole) // 2])
    (docs / "empty.md").write_bytes(b"")
    files.write_pdf(docs / "secret.pdf", ["hidden"], password="pw")
    files.write_bomb(docs / "bomb.docx")
    (docs / "rubbish.txt").write_bytes(bytes(range(256)) * 9)
    (docs / "huge.txt").write_bytes(b"words " * 300_000)
    small = settings.model_copy(update={"max_file_mb": 1.0})
    report = ingest([docs], small, embedder=embedder)
    assert {Path(f.source).name: f.reason for f in report.failed} == {
        "cut.pdf": "broken",
        "empty.md": "empty",
        "secret.pdf": "encrypted",
        "bomb.docx": "too_large",
        "rubbish.txt": "not_text",
        "huge.txt": "too_large",
    }
    assert len(report.added) == report.documents == 5
    with Store.open(small, embedder=embedder) as store:
        assert len(store.documents()) == 5
    for name in ("cut.pdf", "empty.md", "secret.pdf", "bomb.docx", "rubbish.txt", "huge.txt"):
        (docs / name).unlink()
    report = ingest([docs], small, embedder=embedder)
    assert (report.failed, report.removed, len(report.unchanged)) == ((), (), 5)


def test_a_file_that_breaks_keeps_its_earlier_version_until_it_is_whole(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    before = look(settings, embedder)
    whole = (docs / "book.pdf").read_bytes()
    (docs / "book.pdf").write_bytes(whole[: len(whole) // 2])
    report = ingest([docs], settings, embedder=embedder)
    assert [(f.reason, f.kept) for f in report.failed] == [("broken", True)]
    broken = look(settings, embedder)
    assert broken["chunks"] == before["chunks"]
    assert "broken" in next(d[4] for d in broken["documents"] if d[0] == "docs/book.pdf")
    (docs / "book.pdf").write_bytes(whole)
    report = ingest([docs], settings, embedder=embedder)
    assert (report.failed, report.changed, len(report.unchanged)) == ((), (), 5)
    assert look(settings, embedder) == before


def test_ids_do_not_depend_on_the_working_folder_nor_on_where_the_project_lies(
    tmp_path, embedder, monkeypatch
):
    states = []
    for name in ("one", "two"):
        base = tmp_path / name
        (base / "docs").mkdir(parents=True)
        (base / "docs" / "guide.md").write_text(files.GUIDE, "utf-8")
        settings = files.make_settings(base)
        if name == "two":
            monkeypatch.chdir(base / "docs")
            ingest(["guide.md"], settings, embedder=embedder)
        else:
            ingest([base], settings, embedder=embedder)
        states.append(look(settings, embedder)["chunks"])
    assert states[0] == states[1] != []


def test_collections_do_not_see_each_other(docs, tmp_path, settings, embedder):
    other = settings.model_copy(update={"collection": "other"})
    ingest([docs / "guide.md"], settings, embedder=embedder)
    before = look(settings, embedder)
    ingest([docs / "guide.md", docs / "book.pdf"], other, embedder=embedder)
    assert look(settings, embedder) == before
    (docs / "guide.md").unlink()
    ingest([docs], other, embedder=embedder)
    assert look(settings, embedder) == before
    assert not any("Guide" in text for text in look(other, embedder)["texts"])
    shouting = settings.model_copy(update={"collection": "OTHER"})
    with pytest.raises(ConfigError, match="capitals"):
        ingest([docs], shouting, embedder=embedder)


def test_another_embedder_space_or_chunking_wants_a_rebuild(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    changed = files.FakeEmbedder("changed", dimension=16)
    with pytest.raises(StoreMismatchError, match=r"'fake', not 'changed'.*--rebuild"):
        ingest([docs], settings, embedder=changed)
    for update in ({"space": "l2"}, {"chunk_tokens": 50}, {"chunk_overlap": 9}):
        with pytest.raises(StoreMismatchError, match="--rebuild"):
            ingest([docs], settings.model_copy(update=update), embedder=embedder)
    l2 = settings.model_copy(update={"space": "l2", "chunk_tokens": 50})
    report = ingest([docs], l2, embedder=changed, rebuild=True)
    assert (len(report.added), report.embedded) == (5, report.chunks)
    with Store.open(l2, embedder=changed) as store:
        profile = store.profile()
        assert (profile.embedder, profile.space, profile.chunking) == ("changed", "l2", "50/8")
        vector = changed.embed(["the gate skips"])[0]
        found = store.dense(vector, 3)
        assert len(found) == 3
        assert store.cosines(vector, list(found)) == pytest.approx(list(found.values()), abs=1e-5)


def test_rebuild_gives_the_same_again(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    before = look(settings, embedder)
    report = ingest([docs], settings, embedder=embedder, rebuild=True)
    assert len(report.added) == 5
    assert look(settings, embedder) == before


def test_nothing_to_ingest(tmp_path, settings, embedder):
    with pytest.raises(NothingToIngestError, match="no file or folder at"):
        ingest([tmp_path / "absent"], settings, embedder=embedder)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "image.iso").write_bytes(b"x")
    with pytest.raises(NothingToIngestError, match="1 unsupported"):
        ingest([tmp_path / "docs"], settings, embedder=embedder)
    with pytest.raises(NothingToIngestError, match="no path"):
        ingest([], settings, embedder=embedder)
    assert not settings.data_dir.exists()


def test_a_vanished_folder_removes_nothing(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    docs.rename(docs.with_name("unmounted"))
    with pytest.raises(NothingToIngestError, match="no file or folder at"):
        ingest([docs], settings, embedder=embedder)
    assert len(look(settings, embedder)["documents"]) == 5


def test_walking_skips_hidden_unsupported_and_loops(docs, settings, embedder):
    (docs / ".hidden.md").write_text("secret")
    (docs / ".git").mkdir()
    (docs / ".git" / "x.md").write_text("secret")
    (docs / "image.iso").write_bytes(b"x")
    (docs / "loop").symlink_to(docs)
    (docs / "again.md").symlink_to(docs / "guide.md")
    (docs / "dangling.md").symlink_to(docs / "nowhere.md")
    os.mkfifo(docs / "pipe.txt")
    found = walk([docs, docs / "guide.md"])
    names = [file.path.name for file in found.files]
    assert sorted(names) == ["book.pdf", "guide.md", "notes.txt", "page.html", "report.docx"]
    assert {why: len(names) for why, names in found.skipped.items()} == {
        "hidden": 2,
        "unsupported": 1,
        "already seen": 2,
        "broken link": 1,
        "not a file": 1,
    }


def test_an_explicit_file_of_another_kind_is_a_failure(docs, settings, embedder):
    (docs / "image.iso").write_bytes(b"x")
    report = ingest([docs / "image.iso", docs / "guide.md"], settings, embedder=embedder)
    assert [(f.reason, len(report.added)) for f in report.failed] == [("unsupported", 1)]


def test_the_data_folder_is_never_ingested(docs, embedder):
    settings = files.make_settings(docs, data_dir=docs / "index")
    ingest([docs], settings, embedder=embedder)
    (docs / "index" / "stray.md").write_text("# Stray")
    report = ingest([docs], settings, embedder=embedder)
    assert (report.added, len(report.unchanged)) == ((), 5)


def test_a_name_that_is_not_unicode(docs, settings, embedder):
    name = os.fsencode(docs) + b"/bad\xff.md"
    with open(name, "w") as stream:
        stream.write("# Words")
    report = ingest([docs], settings, embedder=embedder)
    assert [f.reason for f in report.failed] == ["unreadable"]
    assert len(report.added) == 5


def test_links_lead_nowhere_outside_the_folder_nor_into_the_data_folder(docs, settings, embedder):
    """A shared folder: whoever may write a link there must not choose what else is read."""
    data = Path(settings.data_dir)
    data.mkdir(parents=True, exist_ok=True)
    (data / "session.secret").write_text("the secret of the sessions is fourty-two")
    outside = docs.parent / "private"
    outside.mkdir()
    (outside / "salaries.md").write_text("# Salaries\n\nEverybody earns too little.")
    (docs / "secret.txt").symlink_to(data / "session.secret")
    (docs / "pay.md").symlink_to(outside / "salaries.md")
    (docs / "more").symlink_to(outside)
    (docs / "inside.md").symlink_to(docs / "guide.md")
    report = ingest([docs], settings, embedder=embedder)
    named = {
        why: sorted(Path(name).name for name in names) for why, names in report.skipped.items()
    }
    assert named == {
        "of the data folder": ["secret.txt"],
        "link that leaves the folder": ["more", "pay.md"],
        "already seen": ["inside.md"],
    }
    assert report.documents == 5
    # Named, the target may be read; of the data folder nothing is.
    both = ingest([docs, outside], settings, embedder=embedder)
    assert [Path(source).name for source in both.added] == ["pay.md"]
    with pytest.raises(NothingToIngestError, match="1 of the data folder"):
        ingest([docs / "secret.txt"], settings, embedder=embedder)


def test_what_an_earlier_version_read_through_a_link_goes(docs, settings, embedder):
    outside = docs.parent / "private"
    outside.mkdir()
    (outside / "salaries.md").write_text("# Salaries\n\nEverybody earns too little.")
    (docs / "more").mkdir()
    (docs / "more" / "salaries.md").write_text("# Salaries\n\nEverybody earns too little.")
    ingest([docs], settings, embedder=embedder)
    (docs / "more" / "salaries.md").unlink()
    (docs / "more").rmdir()
    (docs / "more").symlink_to(outside)
    report = ingest([docs], settings, embedder=embedder)
    assert [Path(source).name for source in report.removed] == ["salaries.md"]


def test_a_file_that_a_link_has_replaced_is_not_read(docs):
    limits = Limits(max_bytes=10_000, max_pages=5, timeout_s=20.0, memory_mb=1024)
    with ParserProcess(limits) as parser:
        secret = docs.parent / "secret.txt"
        secret.write_text("the secret")
        path = (docs / "sub" / "notes.txt").resolve()
        path.unlink()
        path.symlink_to(secret)
        with pytest.raises(ParseError, match="has become a link"):
            parser.parse(path, "txt")


def test_a_renamed_folder_leaves_no_ghosts(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    moved = docs.rename(docs.with_name("papers"))
    (moved / "sub" / "notes.txt").unlink()  # deleted after it moved: nobody names it any more
    report = ingest([moved], settings, embedder=embedder)
    assert sorted(Path(source).name for source in report.removed) == [
        "book.pdf",
        "guide.md",
        "notes.txt",
        "page.html",
        "report.docx",
    ]
    with Store.open(settings, embedder=embedder) as store:
        assert {d.id.split("/")[0] for d in store.documents()} == {"papers"}


def test_an_unmounted_folder_is_not_taken_for_a_renamed_one(docs, settings, embedder):
    ingest([docs], settings, embedder=embedder)
    docs.rename(docs.with_name("unmounted"))
    other = docs.with_name("other")
    other.mkdir()
    (other / "guide.md").write_text(files.GUIDE, "utf-8")  # one of five in common
    assert ingest([other], settings, embedder=embedder).removed == ()
    assert len(look(settings, embedder)["documents"]) == 6
