"""Collections and documents as a whole: made, renamed, deleted; over HTTP and in a terminal."""

import json
from pathlib import Path

import ingest_files as files
import pytest
import server_rig as rig
from typer.testing import CliRunner

from rag_app.index.store import Store
from rag_app.server.keys import KeyStore
from rankgate.cli import build_app
from rankgate.errors import InputError

RUNNER = CliRunner()


def run(*args, data, code=0, answer=None):
    done = RUNNER.invoke(build_app(), [*map(str, args), "--data-dir", str(data)], input=answer)
    assert done.exit_code == code, done.output
    return done


async def test_a_renamed_collection_keeps_everything(tmp_path):
    embedder = files.FakeEmbedder()
    async with rig.in_process(tmp_path, files, embedder=embedder) as client:
        await rig.upload(
            client, ("tide.md", b"# Tide\n\nThe tide turns twice a day."), collection="hrx"
        )
        made = (await client.post("/v1/conversations", json={"collection": "hrx"})).json()
        body = {
            "model": "rankgate:hrx",
            "messages": [{"role": "user", "content": "When does the tide turn?"}],
            "conversation": made["id"],
        }
        (await client.post("/v1/chat/completions", json=body)).raise_for_status()
        embedded = len(embedder.encoded)
        answer = await client.patch("/v1/collections/hrx", json={"name": "people"})
        assert answer.json() == {"name": "people", "documents": 1, "passages": 1}
        assert [c["name"] for c in (await client.get("/v1/collections")).json()["collections"]] == [
            "default",
            "people",
        ]
        assert len(embedder.encoded) == embedded, "nothing is read again"
        body["model"] = "rankgate:people"
        answer = (await client.post("/v1/chat/completions", json=body)).json()
        assert "twice a day" in answer["choices"][0]["message"]["content"]
        kept = (await client.get(f"/v1/conversations/{made['id']}")).json()
        assert kept["collection"] == "people"
        (source,) = kept["turns"][0]["details"]["sources"]
        assert source["document"] is not None, "the kept answer has lost its source"
        query = {"collection": "people"}
        file = await client.get(f"/v1/documents/{source['document']}/file", params=query)
        assert b"twice a day" in file.content
        await rig.upload(client, ("tide.md", b"# Tide\n\nThe tide never turns."), collection="hrx")
        listed = (await client.get("/v1/documents", params=query)).json()["data"]
        assert [d["name"] for d in listed] == ["tide.md"] and listed[0]["changed"]
    # What a server does at its start finds nothing to do.
    async with rig.in_process(tmp_path, files, collections={}) as client:
        names = (await client.get("/v1/collections")).json()["collections"]
        assert [(c["name"], c["documents"]) for c in names] == [
            ("default", 3),
            ("hrx", 1),
            ("people", 1),
        ]


async def test_a_deleted_collection_is_gone_with_its_uploads(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        await rig.upload(client, ("tide.md", b"# Tide\n\nThe tide turns."), collection="sea")
        data = Path(client.settings.data_dir)
        assert (await client.delete("/v1/collections/sea")).json()["deleted"]
        left = [p for p in data.rglob("*") if p.name.startswith(("sea", "tide"))]
        assert left == []
        assert (await client.get("/v1/documents?collection=sea")).status_code == 404
        assert (await client.delete("/v1/collections/sea")).status_code == 404
        assert (await client.post("/v1/collections", json={"name": "sea"})).status_code == 201
        again = await client.post("/v1/collections", json={"name": "sea"})
        assert again.status_code == 400 and "already" in again.json()["message"]
        wrong = await client.patch("/v1/collections/sea", json={"name": "default"})
        assert wrong.status_code == 400
        wrong = await client.post("/v1/collections", json={"name": "hr"})
        assert wrong.status_code == 400 and "3 to 63" in wrong.json()["message"]


async def test_several_documents_go_at_once_or_not_at_all(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        listed = (await client.get("/v1/documents")).json()["data"]
        ids = [d["id"] for d in listed]
        wrong = await client.post("/v1/documents/delete", json={"ids": [ids[0], "nothing"]})
        assert wrong.status_code == 404
        gone = (await client.post("/v1/documents/delete", json={"ids": ids[:2]})).json()
        assert [d["id"] for d in gone["data"]] == ids[:2]
        listed = (await client.get("/v1/documents")).json()["data"]
        assert [d["id"] for d in listed] == ids[2:]


async def test_a_reader_changes_nothing(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        reads = rig.bearer(rig.key(client.settings, role="reader"))
        some = rig.bearer(rig.key(client.settings, role="user", collections=["default"]))
        listed = (await client.get("/v1/documents", headers=reads)).json()["data"]
        part = {"files": ("a.md", b"# A\n\nText.")}
        refused = [
            await client.post("/v1/documents", files=part, headers=reads),
            await client.delete(f"/v1/documents/{listed[0]['id']}", headers=reads),
            await client.post("/v1/documents/delete", json={"ids": ["x"]}, headers=reads),
            await client.post("/v1/collections", json={"name": "new"}, headers=reads),
            await client.patch("/v1/collections/default", json={"name": "new"}, headers=reads),
            await client.delete("/v1/collections/default", headers=reads),
        ]
        assert {r.status_code for r in refused} == {403}
        assert {r.json()["error"]["code"] for r in refused} == {"read_only"}
        body = {"messages": [{"role": "user", "content": "What does the harbour master log?"}]}
        assert (await client.post("/v1/chat/completions", json=body, headers=reads)).is_success
        for answer in (
            await client.delete("/v1/collections/default", headers=some),
            await client.post("/v1/collections", json={"name": "new"}, headers=some),
        ):
            assert answer.json()["error"]["code"] == "not_all_collections"


async def test_keys_follow_a_renamed_collection(tmp_path):
    async with rig.in_process(tmp_path, files, collections={"sea": rig.TEXTS}) as client:
        owner = rig.bearer(rig.key(client.settings, collections=None))
        mine = rig.bearer(rig.key(client.settings, collections=["sea", "default"]))
        body = {"name": "ocean"}
        (await client.patch("/v1/collections/sea", json=body, headers=owner)).raise_for_status()
        seen = (await client.get("/v1/collections", headers=mine)).json()["collections"]
        assert [c["name"] for c in seen] == ["default", "ocean"]


def test_a_key_is_made_for_what_uploads_accept(tmp_path):
    done = run("keys", "create", "--name", "Ada", "--collections", "hr", data=tmp_path, code=2)
    assert "3 to 63 letters" in done.output
    done = run("keys", "create", "--name", "Ada", data=tmp_path, code=2)
    assert "--all-collections" in done.output
    assert KeyStore(tmp_path).all() == []
    run("keys", "create", "--name", "Ada", "--all-collections", data=tmp_path)
    run(
        "keys",
        "create",
        "--name",
        "Bob",
        "--collections",
        "people",
        "--role",
        "reader",
        data=tmp_path,
    )
    ada, bob = KeyStore(tmp_path).all()
    assert ada.collections is None and bob.collections == ("people",) and not bob.writes
    with pytest.raises(InputError, match="3 to 63"):
        KeyStore(tmp_path).create(name="x", collections=["hr"])


def test_the_terminal_lists_renames_and_deletes(tmp_path):
    """Without a server; `test_served` has the same with one."""
    data, docs = tmp_path / "data", tmp_path / "docs"
    docs.mkdir()
    for name, text in rig.TEXTS.items():
        (docs / name).write_text(text)
    run("ingest", docs, "--collection", "sea", data=data)
    rows = json.loads(run("collections", "list", "--json", data=data).stdout)
    assert {r["name"]: r["documents"] for r in rows} == {"default": 0, "sea": 3}
    done = run("documents", "list", "--collection", "sea", data=data)
    assert "harbour.txt" in done.stdout and "1 passages" in done.stdout
    done = run("documents", "delete", "none.txt", "--collection", "sea", "--yes", data=data, code=2)
    assert "no document 'none.txt'" in done.stderr
    run("documents", "delete", "bread.txt", "--collection", "sea", data=data, answer="n\n", code=1)
    assert "bread.txt" in run("documents", "list", "--collection", "sea", data=data).stdout
    run("documents", "delete", "bread.txt", "--collection", "sea", "--yes", data=data)
    assert "bread.txt" not in run("documents", "list", "--collection", "sea", data=data).stdout
    run("collections", "rename", "sea", "ocean", data=data)
    run("collections", "delete", "ocean", "--yes", data=data)
    assert "sea" not in (found := run("collections", "list", data=data).stdout)
    assert "ocean" not in found and (docs / "harbour.txt").exists()


def test_a_rename_is_whole_for_the_next_opener(tmp_path):
    settings, opened = rig.make(tmp_path, files, collections={"sea": rig.TEXTS})
    with opened:
        opened.store("sea")
        opened.rename("sea", "ocean").result(60)
    renamed = settings.model_copy(update={"collection": "ocean"})
    embedder = files.FakeEmbedder()
    with Store.open(renamed, embedder=embedder) as store:
        assert store.count() == 3 and len(store.index.ids()) == 3
    assert embedder.encoded == []


@pytest.mark.model
def test_who_deletes_is_asked_about_what_is_there_and_about_nothing_else(tmp_path):
    data = tmp_path / "data"
    run("collections", "create", "sea", data=data)
    empty = run("documents", "list", "--collection", "sea", data=data)
    assert empty.stdout == "" and "rankgate ingest FOLDER" in empty.stderr
    gone = run("collections", "delete", "land", data=data, code=2)
    assert "there is no collection 'land'" in gone.stderr and "[y/N]" not in gone.output
    asked = run("collections", "delete", "sea", data=data, code=1, answer="n\n")
    assert "sea (0 documents, 0 passages)?" in asked.output
    assert "sea" in run("collections", "list", data=data).stdout
