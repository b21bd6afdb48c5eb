"""Owners take turns, what is urgent goes first, and a killer of servers is given up."""

import threading

import ingest_files as files
import pytest
import server_rig as rig

from rag_app.errors import StoreError
from rag_app.server.intake.uploads import Uploads
from rag_app.server.intake.writer import FairWriter
from rag_app.server.shapes import document_ref


@pytest.fixture
def writer():
    made = FairWriter()
    yield made
    made.close()


def test_owners_take_turns(writer):
    begun, may, order = threading.Event(), threading.Event(), []
    first = writer.submit(lambda: (begun.set(), may.wait(20)), collection="a", owner="ann")
    assert begun.wait(20)
    tasks = [
        writer.submit(lambda n=n: order.append(n), collection="a", owner=owner)
        for n, owner in (("a1", "ann"), ("a2", "ann"), ("a3", "ann"), ("b1", "bob"), ("c1", "cyd"))
    ]
    urgent = writer.submit(lambda: order.append("urgent"), collection="a", urgent=True)
    may.set()
    for task in (first, urgent, *tasks):
        task.result(20)
    assert order == ["urgent", "a1", "b1", "c1", "a2", "a3"]


def test_a_long_task_lets_through_what_is_urgent_and_one_of_each_other_owner(writer):
    queued, order = threading.Event(), []

    def long():
        assert queued.wait(20)
        writer.let_through()
        order.append("long")

    tasks = [writer.submit(long, collection="a", owner="ann")]
    for name, collection, owner, urgent in (
        ("same collection", "a", "bob", False),
        ("own", "b", "ann", False),
        ("other", "b", "cyd", False),
        ("urgent", "a", "", True),
    ):
        work = lambda n=name: order.append(n)  # noqa: E731
        tasks.append(writer.submit(work, collection=collection, owner=owner, urgent=urgent))
    queued.set()
    for task in tasks:
        task.result(20)
    assert order == ["urgent", "other", "long", "same collection", "own"]


def test_what_fails_is_told_and_what_waits_is_cancelled():
    writer, may = FairWriter(), threading.Event()
    with pytest.raises(ZeroDivisionError):
        writer.submit(lambda: 1 / 0, collection="a").result(20)
    running = writer.submit(lambda: may.wait(20), collection="a")
    while not running.running():
        pass
    left = writer.submit(lambda: None, collection="a")
    closing = threading.Thread(target=writer.close)
    closing.start()
    may.set()
    closing.join(20)
    assert running.result() and left.cancelled()


async def test_a_delete_does_not_wait_for_an_upload_of_many_passages(tmp_path):
    embedder = files.FakeEmbedder()
    begun, may = threading.Event(), threading.Event()
    encode = embedder.encode

    def slowly(texts):
        if begun.is_set():
            assert may.wait(20)
        return encode(texts)

    embedder.encode = slowly
    async with rig.in_process(tmp_path, files, embedder=embedder, batch_size=4) as client:
        listed = (await client.get("/v1/documents")).json()["data"]
        begun.set()
        long = "\n\n".join(f"Paragraph {n} of many words that say nothing." * 5 for n in range(99))
        sent = await client.post("/v1/documents", files=[("files", ("long.txt", long.encode()))])
        may.set()
        gone = await client.delete(f"/v1/documents/{listed[0]['id']}")
        assert gone.status_code == 200
        now = await rig.finished(client, sent.json())
        assert now["files"][0]["state"] == "done"


async def test_a_file_during_which_the_server_ended_twice_is_given_up(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        folder = client.settings.data_dir / "uploads" / "default"
    folder.mkdir(parents=True)
    for name in ("killer.txt", "good.txt"):
        (folder / name).write_text("Words of an upload.")
    (folder / ".killer.txt.tries").write_text("2")
    async with rig.in_process(tmp_path, files) as client:
        await rig.upload(client, ("new.txt", b"Later."))
        found = {d["name"]: d for d in (await client.get("/v1/documents")).json()["data"]}
        assert found["killer.txt"]["state"] == "failed"
        assert "given_up" in found["killer.txt"]["error"]
        assert found["good.txt"]["state"] == "indexed"
        # Another version has another chance.
        job = await rig.upload(client, ("killer.txt", b"Other words."))
        assert job["files"][0]["state"] == "done"
    assert not list(folder.glob(".*"))


def test_a_file_is_noted_while_it_is_read_and_no_longer(tmp_path):
    settings, opened = rig.make(tmp_path, files)
    noted = []
    uploads = Uploads(opened)
    with opened:
        folder = settings.data_dir / "uploads" / "default"
        encode = opened.store("default").embedder.encode

        def looking(texts):
            noted.extend(sorted(p.name for p in folder.glob(".*.tries")))
            return encode(texts)

        opened.store("default").embedder.encode = looking
        uploads.take("default", [("a.txt", b"Some words.")])
        opened.write("default", lambda store: None).result(60)
    assert noted == [".a.txt.tries"] and not list(folder.glob(".*"))


def test_a_delete_that_fails_leaves_the_file_where_it_was(tmp_path):
    settings, opened = rig.make(tmp_path, files)
    uploads = Uploads(opened)
    with opened:
        uploads.take("default", [("a.txt", b"Some words.")])
        store = opened.write("default", lambda store: store).result(60)
        (record,) = (d for d in store.documents() if d.path.endswith("uploads/default/a.txt"))
        remove = store.remove

        def full(ids):
            raise StoreError("its disk is full")

        store.remove = full
        with pytest.raises(StoreError, match="full"):
            uploads.remove(store, [document_ref(record.id)])
        assert (settings.data_dir / "uploads" / "default" / "a.txt").read_bytes() == b"Some words."
        store.remove = remove
        uploads.remove(store, [document_ref(record.id)])
        assert not list((settings.data_dir / "uploads" / "default").iterdir())
