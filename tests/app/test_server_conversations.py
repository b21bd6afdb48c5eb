"""Conversations over HTTP: kept, exported, deleted; each caller's own."""

from pathlib import Path

import ingest_files as files
import pytest
import server_rig as rig

from rag_app.server.keys import KeyStore
from rag_app.server.shapes import document_ref

ASKED = "How long does a sourdough rest?"
SECRET = "/srv/secret"


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


def older(server, conversation, owner, *, gone=False):
    """A turn as an evaluator's was kept by an older version: whole paths, their ids, scores."""
    store = server.collections.store("default")
    bread = next(d for d in store.documents() if d.source.endswith("bread.txt"))
    chunk = "0" * 32 if gone else store.manifest.chunk_ids("default")[0]
    if not gone:
        ((_, found),) = store.fetch([chunk])
        bread = next(d for d in store.documents() if d.id == found["document_id"])
    source = {
        "number": 1,
        "title": "bread",
        "heading": "",
        "page": None,
        "source": f"{SECRET}/{bread.name}" if gone else bread.source,
        "document": "L3Nydi9zZWNyZXQvYnJlYWQudHh0",
        "chunk_id": chunk,
        "relevance_score": 0.625,
        "quotes": [],
    }
    server.conversations.append(
        conversation,
        owner=owner,
        question=ASKED,
        answer="Twelve hours. [1]",
        status="answered",
        details={
            "mode": "extractive",
            "sources": [source],
            "searched_for": ASKED,
            "retrieval": {"status": "reranked", "degraded": False, "reason": "R", "detail": "D"},
            "trace": {"policy": "p", "passages": [{"source": SECRET}]},
        },
    )
    return source, bread


@pytest.mark.parametrize("gone", [False, True])
async def test_a_kept_turn_is_shown_as_the_role_of_today_allows(client, gone):
    """The key was an evaluator's when it asked, or the version an older one."""
    one = await begin(client, client.ada)
    server = client.app.state.server
    owner = next(r.id for r in KeyStore(client.settings.data_dir).all() if r.name == "Ada")
    source, document = older(server, one, owner, gone=gone)
    at = f"/v1/conversations/{one}"
    whole = await client.get(at, headers=client.ada)
    exported = await client.get(f"{at}/export?format=json", headers=client.ada)
    markdown = await client.get(f"{at}/export", headers=client.ada)
    for text in (whole.text, exported.text, markdown.text):
        assert str(Path(document.source).parent) not in text and SECRET not in text
        assert source["document"] not in text, "the old id is the path in other letters"
        assert "0.625" not in text and "trace" not in text
    for answer in (whole, exported):
        details = answer.json()["turns"][0]["details"]
        assert details["retrieval"] == {"status": "reranked", "degraded": False}
        (shown,) = details["sources"]
        assert (shown["source"], shown["number"]) == (document.name, 1)
        assert "relevance_score" not in shown
        if gone:
            assert shown["document"] is None
            continue
        opened = await client.get(f"/v1/documents/{shown['document']}/text", headers=client.ada)
        assert opened.status_code == 200 and opened.json()["name"] == document.name


async def test_an_evaluator_sees_all_of_it_and_the_document_of_today(client):
    one = await begin(client, client.bob)
    owner = next(r.id for r in KeyStore(client.settings.data_dir).all() if r.name == "Bob")
    source, document = older(client.app.state.server, one, owner)
    kept = (await client.get(f"/v1/conversations/{one}", headers=client.bob)).json()
    details = kept["turns"][0]["details"]
    assert details["trace"]["policy"] == "p" and details["retrieval"]["reason"] == "R"
    (shown,) = details["sources"]
    assert shown.pop("document") == document_ref(document.id)
    assert shown == {k: v for k, v in source.items() if k != "document"}


async def test_a_collection_that_is_no_longer_reached_leaves_the_answer_without_links(tmp_path):
    texts = {"default": rig.TEXTS, "minutes": {"m.txt": "The board met on Monday."}}
    async with rig.in_process(tmp_path, files, collections=texts) as client:
        mine = rig.bearer(rig.key(client.settings, name="Ada", collections=("minutes",)))
        owner = next(r.id for r in KeyStore(client.settings.data_dir).all() if r.name == "Ada")
        server = client.app.state.server
        one = server.conversations.create(owner=owner, collection="default").id
        older(server, one, owner)
        kept = (await client.get(f"/v1/conversations/{one}", headers=mine)).json()
        assert kept["turns"][0]["answer"] == "Twelve hours. [1]"
        assert kept["turns"][0]["details"]["sources"][0]["document"] is None
