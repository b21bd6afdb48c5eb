"""Conversations over HTTP: kept, exported, deleted; each caller's own."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


files = _load("ingest_files")
rig = _load("server_rig")

ASKED = "How long does a sourdough rest?"


@pytest.fixture
async def client(tmp_path):
    async with rig.in_process(tmp_path, files) as found:
        found.ada = rig.bearer(rig.key(found.settings, name="Ada"))
        found.bob = rig.bearer(rig.key(found.settings, name="Bob", role="evaluator"))
        yield found


async def begin(client, headers, **body):
    answer = await client.post("/v1/conversations", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def ask(client, headers, conversation, question=ASKED, **more):
    body = {
        "messages": [{"role": "user", "content": question}],
        "conversation": conversation,
        **more,
    }
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def test_turns_are_kept_as_they_were_answered(client):
    one = await begin(client, client.ada)
    whole = (await ask(client, client.ada, one)).json()["rankgate"]
    await ask(client, client.ada, one, "What does the gate decide?", stream=True)
    kept = (await client.get(f"/v1/conversations/{one}", headers=client.ada)).json()
    assert kept["title"] == ASKED and kept["collection"] == "default"
    first, second = kept["turns"]
    assert (first["id"], first["question"], first["answer"]) == (
        whole["turn"],
        ASKED,
        whole["answer"],
    )
    assert first["details"]["sources"] == whole["sources"] and "[1]" not in first["html"]
    assert "trace" not in first["details"], "a user's conversation keeps no trace"
    assert second["question"] == "What does the gate decide?" and second["status"] == "answered"
    assert "gate decides" in second["answer"]


async def test_nobody_sees_or_changes_anothers(client):
    one = await begin(client, client.ada)
    turn = (await ask(client, client.ada, one)).json()["rankgate"]["turn"]
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"title": "mine"}),
        ("DELETE", "", None),
        ("DELETE", f"/turns/{turn}", None),
        ("GET", "/export", None),
        ("GET", "/export?format=json", None),
    ):
        answer = await client.request(
            method, f"/v1/conversations/{one}{path}", json=body, headers=client.bob
        )
        assert answer.status_code == 404, (method, path)
        assert answer.json()["error"]["code"] == "conversation_not_found"
        assert "sourdough" not in answer.text
    body = {"messages": [{"role": "user", "content": "x"}], "conversation": one}
    assert (
        await client.post("/v1/chat/completions", json=body, headers=client.bob)
    ).status_code == 404
    assert (await client.get("/v1/conversations", headers=client.bob)).json() == {
        "conversations": []
    }
    assert (await client.delete("/v1/conversations", headers=client.bob)).json() == {"deleted": 0}
    kept = (await client.get(f"/v1/conversations/{one}", headers=client.ada)).json()
    assert kept["title"] == ASKED and len(kept["turns"]) == 1


async def test_rename_export_truncate_delete(client):
    one = await begin(client, client.ada, collection="default")
    await ask(client, client.ada, one)
    second = (await ask(client, client.ada, one, "What does the gate decide?")).json()["rankgate"][
        "turn"
    ]
    at = f"/v1/conversations/{one}"
    renamed = await client.patch(at, json={"title": "On  bread"}, headers=client.ada)
    assert renamed.json()["title"] == "On bread"
    assert (await client.patch(at, json={"title": "  "}, headers=client.ada)).status_code == 400
    exported = await client.get(f"{at}/export", headers=client.ada)
    assert (
        exported.headers["content-disposition"]
        == f'attachment; filename="conversation-{one[:8]}.md"'
    )
    assert exported.text.startswith("# On bread\n\n## How long") and "twelve hours" in exported.text
    exported = await client.get(f"{at}/export?format=json", headers=client.ada)
    assert [t["question"] for t in exported.json()["turns"]] == [
        ASKED,
        "What does the gate decide?",
    ]
    assert (await client.delete(f"{at}/turns/{second}", headers=client.ada)).status_code == 200
    assert len((await client.get(at, headers=client.ada)).json()["turns"]) == 1
    assert (await client.delete(at, headers=client.ada)).json() == {"deleted": 1}
    assert (await client.get(at, headers=client.ada)).status_code == 404
    file = (client.settings.data_dir / "conversations.sqlite").read_bytes()
    assert b"sourdough" not in file, "deleted means deleted"


async def test_a_conversation_stays_in_its_collection(tmp_path):
    texts = {"default": rig.TEXTS, "minutes": {"m.txt": "The board met on Monday."}}
    async with rig.in_process(tmp_path, files, collections=texts) as client:
        one = await begin(client, {}, collection="minutes")
        body = {"messages": [{"role": "user", "content": "x"}], "conversation": one}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "conversation"
        await ask(client, {}, one, "When did the board meet?", model="rankgate:minutes")
        answer = await client.post("/v1/conversations", json={"collection": "nothing"})
        assert answer.status_code == 404
