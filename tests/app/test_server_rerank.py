"""`/v1/rerank` and `/v2/rerank` by what clients really send, and what a wrong request is told."""

import ingest_files as files
import pytest
import server_rig as rig

DOCUMENTS = ["bread", "the gate", "gate decides bread"]
# Recorded from LiteLLM 1.110 (cohere and jina_ai) and cohere 5.13, 5.15, 5.18 and 5.21 over a
# socket; LiteLLM is too large to be installed for a test. `null` is what typed clients fill in.
TEXTS = {"model": "rankgate", "query": "gate decides bread", "documents": DOCUMENTS}
RECORDED = [
    TEXTS,
    {**TEXTS, "return_documents": True},
    {**TEXTS, "return_documents": False},
    {
        **TEXTS,
        "top_n": None,
        "rank_fields": None,
        "return_documents": None,
        "priority": None,
        "max_chunks_per_doc": None,
        "max_tokens_per_doc": None,
        "model": None,
    },
    {**TEXTS, "max_chunks_per_doc": 10},
]
OBJECTS = {
    "model": "rankgate",
    "query": "gate",
    "documents": [{"title": "bread", "body": "gate"}, {"title": "gate", "body": "x"}],
    "rank_fields": ["title"],
    "return_documents": True,
}


@pytest.fixture(scope="module")
def anyhow(tmp_path_factory):
    import httpx

    with (
        rig.on_port(tmp_path_factory.mktemp("rerank"), files) as (url, _, _),
        httpx.Client(base_url=url) as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize("body", RECORDED)
def test_what_clients_send_is_taken(anyhow, path, body):
    answer = anyhow.post(path, json=body)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [r["index"] for r in results] == [2, 0, 1]
    wanted = body.get("return_documents")
    shown = path == "/v1/rerank" if wanted is None else wanted
    assert [r.get("document") for r in results] == [
        {"text": DOCUMENTS[r["index"]]} if shown else None for r in results
    ]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_objects_are_read_by_their_fields(anyhow, path):
    found = anyhow.post(path, json=OBJECTS).json()["results"]
    assert [r["index"] for r in found] == [1, 0]
    assert found[0]["document"] == {"text": "gate", "title": "gate", "body": "x"}
    both = anyhow.post(path, json={**OBJECTS, "rank_fields": ["title", "body"]}).json()["results"]
    assert both[0]["document"]["text"].startswith(("title: ", "body: "))
    wrong = anyhow.post(path, json={**OBJECTS, "rank_fields": ["name"]})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "documents.0"
    usual = {**OBJECTS, "rank_fields": None, "documents": [{"text": "gate"}, "bread"]}
    assert anyhow.post(path, json=usual).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/rerank", {**TEXTS, "documents": [1]}, "documents.0"),
        ("/v2/rerank", {**TEXTS, "documents": ["a", ["b"]]}, "documents.1"),
        ("/v2/rerank", {**TEXTS, "top_n": "many"}, "top_n"),
        ("/v2/rerank", {**TEXTS, "colour": "red"}, "colour"),
        ("/v2/rerank", {**TEXTS, "query": None}, "query"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": 3}]},
            "messages.0.content",
        ),
        ("/v1/search", {"query": ["a"]}, "query"),
    ],
)
def test_an_error_names_the_field_and_no_function(anyhow, path, body, field):
    answer = anyhow.post(path, json=body)
    error = answer.json()["error"]
    assert answer.status_code in (400, 422) and error["param"] == field
    assert error["message"].startswith(field)
    assert "function" not in answer.text and "0x" not in answer.text


def test_a_null_is_what_is_left_out(anyhow):
    chat = {
        "model": None,
        "messages": [
            {"role": "user", "content": "What does the harbour master log?", "name": None}
        ],
        "stream": None,
        "stream_options": None,
        "n": None,
        "conversation": None,
    }
    answer = anyhow.post("/v1/chat/completions", json=chat)
    assert answer.status_code == 200, answer.text
    options = {"stream": True, "stream_options": {"include_usage": None}}
    assert anyhow.post("/v1/chat/completions", json={**chat, **options}).status_code == 200
    search = {"query": "harbour", "collection": None, "top_n": None, "force": None}
    assert anyhow.post("/v1/search", json=search).status_code == 200
