"""Documents over HTTP: upload with a fate for each file, restart, read, delete."""

import asyncio
import re
import threading
from dataclasses import asdict
from pathlib import Path

import ingest_files as files
import pytest
import server_rig as rig
from waiting import auntil

from rag_app.server.app import create_app
from rag_app.server.collections import Collections
from rag_app.server.intake.uploads import Uploads, safe_name

WORDS = b"Gulls cry over the pier in the evening."


@pytest.fixture
async def client(tmp_path):
    async with rig.in_process(tmp_path, files) as found:
        yield found


async def listed(client):
    rows = (await client.get("/v1/documents")).json()["data"]
    return {row["name"]: row for row in rows}


async def titles(client, query):
    found = (await client.post("/v1/search", json={"query": query})).json()["results"]
    return [row["title"] for row in found]


def fates(job):
    return [(f["name"], f["state"], f["reason"]) for f in job["files"]]


async def test_an_upload_says_of_each_file_what_became_of_it(client, tmp_path):
    pdf = files.write_pdf(tmp_path / "tide.pdf", ["The tide turns at noon."]).read_bytes()
    locked = files.write_pdf(tmp_path / "l.pdf", ["secret"], password="x").read_bytes()
    job = await rig.upload(
        client,
        ("gulls.txt", WORDS),
        ("tide.pdf", pdf),
        ("cut.pdf", pdf[: len(pdf) // 3]),
        ("locked.pdf", locked),
        ("virus.pdf", b"MZ\x90\x00 this program cannot be run in DOS mode"),
        ("page.pdf", b"<html>no pdf at all</html>"),
        ("empty.txt", b""),
        ("song.mp3", b"ID3\x04\x00"),
        ("noending", b"words"),
        ("gulls.txt", b"another one"),
    )
    assert fates(job) == [
        ("gulls.txt", "done", ""),
        ("tide.pdf", "done", ""),
        ("cut.pdf", "failed", job["files"][2]["reason"]),
        ("locked.pdf", "failed", "encrypted"),
        ("virus.pdf", "failed", "wrong_type"),
        ("page.pdf", "failed", "wrong_type"),
        ("empty.txt", "failed", "empty"),
        ("song.mp3", "failed", "unsupported"),
        ("noending", "failed", "unsupported"),
        ("gulls.txt", "failed", "twice"),
    ]
    assert job["files"][2]["reason"] in ("broken", "no_text")
    assert "it is a program" in job["files"][4]["detail"]
    assert all(f["detail"] for f in job["files"] if f["state"] == "failed")
    assert job["chunks"] == 2
    assert (await titles(client, "when does the tide turn"))[0] == "tide"
    kept = {p.name for p in (client.settings.data_dir / "uploads" / "default").iterdir()}
    assert kept == {"gulls.txt", "tide.pdf", "cut.pdf", "locked.pdf"}, (
        "what is no document is not kept"
    )
    rows = await listed(client)
    assert rows["gulls.txt"]["state"] == "indexed" and rows["gulls.txt"]["uploaded"] is True
    assert rows["bread.txt"]["uploaded"] is False
    assert rows["cut.pdf"]["state"] == "failed" and rows["cut.pdf"]["error"]


async def test_nothing_is_done_before_it_is(client):
    busy, let = threading.Event(), threading.Event()
    client.collections.write("default", lambda _: (busy.set(), let.wait(20)))
    await asyncio.to_thread(busy.wait, 20)
    answer = await client.post("/v1/documents", files={"files": ("gulls.txt", WORDS)})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], fates(job)) == ("queued", [("gulls.txt", "queued", "")])
    assert (await client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "queued"
    assert "gulls" not in await titles(client, "gulls")
    let.set()
    job = await rig.finished(client, job)
    assert fates(job) == [("gulls.txt", "done", "")]
    assert (await titles(client, "gulls"))[0] == "gulls"
    assert (await client.get("/v1/jobs/ffff")).json()["error"]["code"] == "job_not_found"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../../etc/cron.d/evil.txt", "evil.txt"),
        ("..\\..\\windows\\evil.TXT", "evil.TXT"),
        ("/absolute.txt", "absolute.txt"),
        (".hidden.txt", "hidden.txt"),
        ("....txt", "txt"),
        (" .txt", "txt"),
        ("..", "document"),
        ("", "document"),
        ("a\x00b\nc.txt", "a_b_c.txt"),
        ("gnp\u202efdp.txt", "gnp_fdp.txt"),
        ("zero\u200bwidth.md", "zero_width.md"),
        ("C:evil.txt", "C_evil.txt"),
        ("x" * 300 + ".txt", "x" * 141 + ".txt"),
        ("\u6771" * 90 + ".txt", "\u6771" * 47 + ".txt"),
        ("half\ud800.txt", "half.txt"),
        ("na\u00efve caf\u00e9.md", "na\u00efve caf\u00e9.md"),
    ],
)
def test_names_are_made_safe(given, kept, tmp_path):
    name = safe_name(given)
    stem, dot, ending = kept.rpartition(".")
    if given.replace("\\", "/").rpartition("/")[2] == kept:
        assert name == kept
    else:  # marked, so that it is no other file's
        stem, ending = (stem, dot + ending) if dot else (kept, "")
        assert re.fullmatch(f"{re.escape(stem)}~[0-9a-f]{{8}}{re.escape(ending)}", name)
    assert len(name.encode()) < 200 and not name.startswith(".")
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x" * 200 + "one.md", "x" * 200 + "two.md"),
        ("q?.md", "q*.md"),
        ("a:b.md", "a_b.md"),
        (" a.md", "a.md"),
        ("a.md" + "x" * 20, "a.md" + "x" * 21),
    ],
)
def test_two_names_never_become_one(one, other):
    assert safe_name(one) != safe_name(other)
    assert safe_name(one) == safe_name(one) and safe_name(safe_name(one)) == safe_name(one)


async def test_traversal_ends_in_the_folder_of_uploads(client, tmp_path):
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    job = await rig.upload(
        client, ("../../../../evil.txt", WORDS), ("..\\up.txt", WORDS + b" Twice.")
    )
    assert fates(job) == [("evil.txt", "done", ""), ("up.txt", "done", "")]
    new = {p for p in tmp_path.rglob("*.txt") if p.is_file()} - before
    assert {p.parent for p in new} == {client.settings.data_dir / "uploads" / "default"}
    assert not (tmp_path.parent / "evil.txt").exists()


async def test_a_file_of_the_same_name_replaces_the_other(client):
    await rig.upload(client, ("news.txt", b"The ferry sails at nine."))
    again = await rig.upload(client, ("news.txt", b"The ferry is cancelled altogether."))
    found = (await client.post("/v1/search", json={"query": "ferry"})).json()["results"]
    texts = [row["text"] for row in found if row["title"] == "news"]
    assert texts == ["The ferry is cancelled altogether."]
    assert again["files"][0]["detail"] == "in place of the earlier file of this name"
    broken = await rig.upload(client, ("news.txt", b"\x00\x01\x02" * 50))
    assert fates(broken) == [("news.txt", "failed", "not_text")]
    assert "An earlier version of it is still there." in broken["files"][0]["detail"]
    assert "news" in await titles(client, "ferry")


async def test_delete_takes_the_file_along_only_where_it_was_uploaded(client, tmp_path):
    await rig.upload(client, ("gulls.txt", WORDS), ("cut.pdf", b"%PDF-1.4 and no more"))
    rows = await listed(client)
    assert rows["cut.pdf"]["state"] == "failed"
    for name in ("gulls.txt", "cut.pdf", "bread.txt"):
        answer = await client.delete(f"/v1/documents/{rows[name]['id']}")
        assert answer.status_code == 200 and answer.json()["deleted"] is True
        assert (await client.delete(f"/v1/documents/{rows[name]['id']}")).status_code == 404
    assert set(await listed(client)) == {"gate.txt", "harbour.txt"}
    assert list((client.settings.data_dir / "uploads" / "default").iterdir()) == []
    assert (tmp_path / "docs-default" / "bread.txt").is_file()
    assert not {"gulls", "bread"} & set(await titles(client, "gulls and sourdough"))
    answer = await client.get(f"/v1/documents/{rows['gulls.txt']['id']}/text")
    assert answer.status_code == 404


async def test_a_deletion_that_has_to_wait_says_so_and_is_done(tmp_path):
    async with rig.in_process(tmp_path, files, request_timeout_s=0.3) as client:
        rows = await listed(client)
        let = threading.Event()
        client.collections.write("default", lambda _: let.wait(20))
        answer = await client.delete(f"/v1/documents/{rows['bread.txt']['id']}")
        assert answer.status_code == 504 and "done after them" in answer.text
        let.set()
        await asyncio.wrap_future(client.collections.write("default", lambda _: None))
        assert "bread.txt" not in await listed(client)


async def test_a_collection_that_cannot_be_opened_fails_the_job(tmp_path):
    """Filled with another embedder: nothing of the upload may stay queued for ever."""
    settings, opened = await asyncio.to_thread(lambda: rig.make(tmp_path, files))
    await asyncio.to_thread(opened.close)
    other = Collections(settings, embedder=files.FakeEmbedder("another", dimension=16))
    uploads = Uploads(other)
    job = uploads.take("default", [("gulls.txt", WORDS), ("b.exe", b"MZ\x90")])
    await auntil(lambda: job.state == "done")
    assert fates(asdict(job)) == [
        ("gulls.txt", "failed", "failed"),
        ("b.exe", "failed", "unsupported"),
    ]
    assert str(tmp_path) not in job.files[0].detail
    await asyncio.to_thread(other.close)


async def restarted(settings):
    """A server anew over the same folder, once it has finished what was left."""
    opened = await asyncio.to_thread(lambda: Collections(settings, embedder=files.FakeEmbedder()))
    app = create_app(settings, collections=opened)
    async with app.router.lifespan_context(app):
        await asyncio.wrap_future(opened.write("default", lambda _: None))
        records = opened.store("default", create=True).manifest.documents("default")
    await asyncio.to_thread(opened.close)
    return {Path(r.path).name: r.state for r in records}


async def test_what_a_stopped_server_had_not_ingested_is_ingested_by_the_next(tmp_path):
    settings, opened = await asyncio.to_thread(lambda: rig.make(tmp_path, files))
    let = threading.Event()
    opened.write("default", lambda _: let.wait(20))
    job = Uploads(opened).take("default", [("gulls.txt", WORDS)])
    folder = settings.data_dir / "uploads" / "default"
    (folder / ".0a1b.part").write_bytes(b"half of a")
    (settings.data_dir / "uploads" / "no name!").mkdir()
    closing = asyncio.ensure_future(asyncio.to_thread(opened.close))
    await auntil(lambda: opened.closing)
    let.set()
    await closing
    assert job.state == "queued"
    assert (await restarted(settings))["gulls.txt"] == "indexed"
    assert [p.name for p in folder.iterdir()] == ["gulls.txt"]
    # Deleted, but the server was killed before the index knew.
    (folder / "gulls.txt").unlink()
    assert "gulls.txt" not in await restarted(settings)


async def test_closing_stops_a_long_ingestion_at_the_next_file(tmp_path):
    class Held(files.FakeEmbedder):
        reached, let = threading.Event(), threading.Event()

        def encode(self, texts):
            if any("stop here" in t for t in texts):
                self.reached.set()
                assert self.let.wait(20)
            return super().encode(texts)

    settings, opened = await asyncio.to_thread(
        lambda: rig.make(tmp_path, files, embedder=Held(), batch_size=1)
    )
    many = [("a.txt", b"words, stop here"), *((f"b{n}.txt", b"more %d" % n) for n in range(30))]
    job = Uploads(opened).take("default", many)
    await asyncio.to_thread(Held.reached.wait, 20)
    closing = asyncio.ensure_future(asyncio.to_thread(opened.close))
    await auntil(lambda: opened.closing)
    Held.let.set()
    await closing
    assert job.state == "queued" and "queued" in {f.state for f in job.files}
    states = await restarted(settings)
    assert {states[name] for name, _ in many} == {"indexed"}


async def test_a_window_of_the_text(client):
    whole = "".join(f"line {n} of the long text\n" for n in range(2000))
    await rig.upload(client, ("long.txt", whole.encode()))
    at = f"/v1/documents/{(await listed(client))['long.txt']['id']}/text"

    async def window(**bounds):
        found = (await client.get(at, params=bounds)).json()
        assert found["text"] == whole[found["start"] : found["end"]]
        return found["start"], found["end"]

    stored = (await client.get(at)).json()["length"]
    assert await window() == (0, 20_000)
    assert await window(start=5, end=12) == (5, 12)
    assert await window(start=12, end=5) == (12, 12)
    assert await window(start=10**9) == (stored, stored)
    assert await window(start=stored - 3, end=10**9) == (stored - 3, stored)


async def test_files_are_shown_or_saved_but_never_run(client, tmp_path):
    pdf = files.write_pdf(tmp_path / "t.pdf", ["The tide turns at noon."]).read_bytes()
    page = b"<html><body><script>alert(1)</script><p>Some words to be read here.</p></body></html>"
    await rig.upload(
        client, ("weird\u00e9.pdf", pdf), ("page.html", page), ("n.md", b"# A\n\ntext")
    )
    rows = await listed(client)
    for name, row in rows.items():
        answer = await client.get(f"/v1/documents/{row['id']}/file")
        kind, how = answer.headers["content-type"], answer.headers["content-disposition"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        if name.endswith(".pdf"):
            assert (kind, answer.content) == ("application/pdf", pdf)
            assert how.startswith("inline; filename*=utf-8''weird%C3%A9.pdf")
        else:
            assert kind == "application/octet-stream" and how.startswith("attachment")
    bread = tmp_path / "docs-default" / "bread.txt"
    bread.unlink()
    bread.symlink_to(client.settings.data_dir / "manifest.sqlite")  # what it hid is not handed out
    gone = await client.get(f"/v1/documents/{rows['bread.txt']['id']}/file")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "file_gone")


async def test_only_documents_are_handed_out(client):
    from rag_app.server.shapes import document_ref

    for path in ("/etc/passwd", "data/keys.sqlite", "data/session.secret", "../x", "", "\x00"):
        for what in ("text", "file"):
            answer = await client.get(f"/v1/documents/{document_ref(path) or 'x'}/{what}")
            assert answer.status_code in (400, 404), path


async def test_too_many_files_are_refused(client):
    parts = [("files", (f"{n}.txt", b"w")) for n in range(101)]
    answer = await client.post("/v1/documents", files=parts)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "files"
    for nothing in (
        {"data": {"collection": "default"}},
        {"files": {"other": ("a.txt", b"w")}},
        {"json": {}},
    ):
        assert (await client.post("/v1/documents", **nothing)).status_code == 400
