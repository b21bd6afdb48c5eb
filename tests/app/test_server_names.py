"""Lists of documents page by page, and what of a document's path a user may see."""

import json

import ingest_files as files
import pytest
import server_rig as rig

from rag_app.ingest.ingestion import ingest_into


def fill(client, folder, *names):
    """Files with a sentence each, ingested under the absolute path of their folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"The {path.stem} of the vineyard is {path.stem}.")
    client.collections.write("default", lambda store: ingest_into(store, [folder])).result(60)


@pytest.fixture
async def client(tmp_path):
    async with rig.in_process(tmp_path / "home", files) as found:
        yield found


@pytest.fixture(autouse=True)
def _home(tmp_path):
    (tmp_path / "home").mkdir()


async def pages(client, limit, **headers):
    """Every page until there is none more."""
    found, after = [], None
    while True:
        query = {"limit": limit} | ({} if after is None else {"after": after})
        page = (await client.get("/v1/documents", params=query, **headers)).json()
        found.append(page)
        if not page["has_more"]:
            return found
        after = page["last_id"]


async def test_a_list_comes_in_pages_whose_order_stays(client, tmp_path):
    fill(client, tmp_path / "docs", *(f"{n:02}.txt" for n in range(11)), "sub/A.txt", "Zoo.txt")
    whole = (await client.get("/v1/documents")).json()
    names = [row["name"] for row in whole["data"]]
    # Those of the rig among them, by name without regard to capitals.
    assert names == sorted(names, key=str.casefold) and len(names) == 16
    assert (whole["object"], whole["has_more"]) == ("list", False)
    assert (whole["first_id"], whole["last_id"]) == (
        whole["data"][0]["id"],
        whole["data"][-1]["id"],
    )
    assert whole["counts"] == {"indexed": 16, "pending": 0, "failed": 0}
    for limit, sizes in ((5, [5, 5, 5, 1]), (8, [8, 8]), (16, [16]), (1000, [16])):
        found = await pages(client, limit)
        assert [len(p["data"]) for p in found] == sizes
        assert [row for p in found for row in p["data"]] == whole["data"]
        assert all(p["counts"] == whole["counts"] for p in found)


async def test_a_page_after_nothing_and_wrong_pages(client):
    last = (await client.get("/v1/documents")).json()["last_id"]
    beyond = (await client.get("/v1/documents", params={"after": last})).json()
    assert (beyond["data"], beyond["has_more"], beyond["last_id"]) == ([], False, None)
    await client.delete(f"/v1/documents/{last}")
    for query in ({"after": last}, {"after": "x"}, {"limit": 0}, {"limit": 1001}, {"limit": "a"}):
        refused = await client.get("/v1/documents", params=query)
        assert refused.status_code == 400, query
        assert refused.json()["error"]["param"] in query


async def seen_by(client, headers):
    """Everything that a caller gets in which a document stands."""
    one = (await client.post("/v1/conversations", json={}, headers=headers)).json()["id"]
    question = "What is the merlot of the vineyard?"
    body = {"messages": [{"role": "user", "content": question}], "conversation": one}
    chat = await client.post("/v1/chat/completions", json=body, headers=headers)
    streamed = await client.post(
        "/v1/chat/completions", json={**body, "stream": True}, headers=headers
    )
    search = await client.post("/v1/search", json={"query": question}, headers=headers)
    listed = await client.get("/v1/documents", headers=headers)
    source = chat.json()["rankgate"]["sources"][0]
    at = f"/v1/documents/{source['document']}"
    shown = await client.get(f"{at}/text", headers=headers)
    kept = await client.get(f"/v1/conversations/{one}", headers=headers)
    exported = await client.get(f"/v1/conversations/{one}/export?format=json", headers=headers)
    file = await client.get(f"{at}/file", headers=headers)
    answers = [chat, streamed, search, listed, shown, kept, exported, file]
    assert [a.status_code for a in answers] == [200] * len(answers), [a.text for a in answers]
    return source, search.json()["results"][0], "\n".join(f"{a.headers}{a.text}" for a in answers)


async def test_users_see_names_within_the_folder_and_evaluators_whole_paths(client, tmp_path):
    secret = tmp_path / "payroll-2026" / "docs"
    fill(client, secret, "reds/merlot.txt", "whites/riesling.txt")
    user = rig.bearer(rig.key(client.settings))
    evaluator = rig.bearer(rig.key(client.settings, role="evaluator"))
    source, result, everything = await seen_by(client, user)
    assert source["source"] == result["source"] == "reds/merlot.txt"
    assert "payroll" not in everything and str(tmp_path) not in everything
    # Nor in a form that only has to be unpacked.
    assert not any(part.isalpha() and len(part) > 40 for part in source["document"].split("-"))
    source, result, everything = await seen_by(client, evaluator)
    assert source["source"] == result["source"] == (secret / "reds/merlot.txt").as_posix()
    listed = (await client.get("/v1/documents", headers=evaluator)).json()["data"]
    paths = {row["name"]: row["path"] for row in listed}
    assert paths["reds/merlot.txt"] == (secret / "reds/merlot.txt").as_posix()


async def test_no_id_can_be_turned_into_a_path(client, tmp_path):
    import base64

    fill(client, tmp_path / "payroll-2026", "merlot.txt")
    for row in (await client.get("/v1/documents")).json()["data"]:
        padded = row["id"] + "=" * (-len(row["id"]) % 4)
        unpacked = base64.urlsafe_b64decode(padded)
        assert b"payroll" not in unpacked and b"merlot" not in unpacked and b"/" not in unpacked[:4]
        assert len(row["id"]) == 24


async def test_a_document_that_is_gone_is_named_as_the_list_names_it(client, tmp_path):
    fill(client, tmp_path / "payroll-2026", "reds/merlot.txt")
    user = rig.bearer(rig.key(client.settings))
    listed = (await client.get("/v1/documents", headers=user)).json()["data"]
    (one,) = [row for row in listed if row["name"] == "reds/merlot.txt"]
    (tmp_path / "payroll-2026" / "reds" / "merlot.txt").unlink()
    answer = await client.get(f"/v1/documents/{one['id']}/file", headers=user)
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "file_gone"
    assert "reds/merlot.txt" in answer.text and "payroll" not in answer.text


async def test_a_folder_from_before_there_were_names_shows_those_of_files(tmp_path):
    import sqlite3

    home = tmp_path / "home"
    settings, opened = rig.make(home, files)
    opened.close()
    with sqlite3.connect(settings.data_dir / "manifest.sqlite") as db:
        db.execute("ALTER TABLE document DROP COLUMN name")
        db.execute("PRAGMA user_version=1")
    async with rig.in_process(home, files, collections={}) as client:
        rows = (await client.get("/v1/documents")).json()["data"]
        assert [row["name"] for row in rows] == ["bread.txt", "gate.txt", "harbour.txt"]
        found = await client.post("/v1/search", json={"query": "gate"})
        assert json.dumps(found.json()["results"][0]["title"]) == '"gate"'
        fill(client, home / "docs-default", "sub/new.txt")
        rows = (await client.get("/v1/documents")).json()["data"]
        assert "sub/new.txt" in [row["name"] for row in rows]
