"""No key uses up descriptors, disk or time: collections are closed when idle, and counted."""

import os
from pathlib import Path

import ingest_files as files
import pytest
import server_rig as rig

from rag_app.ingest.ingestion import ingest_into
from rag_app.server.collections import Collections


def descriptors(folder):
    """Files of a folder that this process holds open."""
    at = (os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd"))
    return {file for file in at if Path(file).is_relative_to(folder)}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_collections_that_nobody_asks_are_closed(tmp_path):
    (tmp_path / "a.txt").write_text("The harbour master logs every ship.")
    settings = files.make_settings(tmp_path)
    with Collections(settings, embedder=files.FakeEmbedder(), most_open=4) as opened:

        def fill(name):
            opened.write(name, lambda store: ingest_into(store, [tmp_path / "a.txt"])).result(60)

        for n in range(9):
            fill(f"col{n}")
        held = descriptors(settings.data_dir / "tokens")
        assert len({Path(file).name.removesuffix("-wal") for file in held}) <= 2 * 4
        assert not any("col0." in file or "col4." in file for file in held), held
        # Closed ones open again when they are asked.
        assert opened.store("col0").count() == opened.store("col8").count() == 1


def test_what_is_being_read_is_not_closed_and_too_many_are_refused(tmp_path):
    settings = files.make_settings(tmp_path)
    with Collections(settings, embedder=files.FakeEmbedder(), most_open=1) as opened:
        stores = [opened.store(f"col{n}", create=True) for n in range(4)]
        assert [s.index.count() for s in stores] == [0, 0, 0, 0]
        with pytest.raises(Exception, match="try again in a minute"):
            opened.store("col4", create=True)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("quota_collections", 2, "uploads in 2 collections"),
        ("quota_mb", 0.0001, "of 0.0001 MB"),
        ("quota_passages", 2, "2 of 2 passages"),
    ],
)
async def test_a_key_has_a_quota(tmp_path, setting, value, says):
    async with rig.in_process(tmp_path, files, **{setting: value}) as client:
        ann, bob = (rig.bearer(rig.key(client.settings, name=n)) for n in ("ann", "bob"))
        text = b"Some forty bytes of an uploaded document."
        for n in (1, 2):
            await rig.upload(client, (f"{n}.txt", text), collection=f"col{n}", headers=ann)
        more = [("files", ("3.txt", text))]
        data = {"collection": "col3"}
        over = await client.post("/v1/documents", files=more, data=data, headers=ann)
        assert (over.status_code, over.json()["error"]["code"]) == (403, "quota_exceeded")
        assert (
            says in over.json()["error"]["message"] and setting in over.json()["error"]["message"]
        )
        # Somebody else has their own; and what was deleted counts no more.
        await rig.upload(client, ("3.txt", text), collection="col3", headers=bob)
        (first,) = (await client.get("/v1/documents?collection=col1", headers=ann)).json()["data"]
        gone = await client.delete(f"/v1/documents/{first['id']}?collection=col1", headers=ann)
        assert gone.status_code == 200
        await rig.upload(client, ("4.txt", text), collection="col4", headers=ann)
