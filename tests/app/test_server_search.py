"""Search, rerank in two dialects, compare, health and metrics."""

import ingest_files as files
import pytest
import server_rig as rig

from rag_app.server.collections import Collections
from rankgate.errors import ScorerError
from rankgate.scorers.protocol import ScorerInfo
from rankgate.testing import FailingScorer, FakeScorer

DOCUMENTS = ["bread and butter", "the gate decides", "the gate decides about bread"]


@pytest.fixture
async def client(tmp_path):
    async with rig.in_process(tmp_path, files) as found:
        yield found


async def test_search_gives_passages_and_all_that_was_decided(client):
    body = {"query": "What does the gate decide?", "top_n": 2}
    found = (await client.post("/v1/search", json=body)).json()
    assert (found["query"], found["collection"]) == (body["query"], "default")
    assert [row["title"] for row in found["results"]] == ["gate", "harbour"]
    assert [row["after"] for row in found["results"]] == [1, 2]
    assert [row["title"] for row in found["dropped"]] == ["bread"]
    first = found["results"][0]
    assert first["text"] == rig.TEXTS["gate.txt"] and first["raw_score"] > 0
    assert (first["start"], first["end"]) == (0, len(first["text"]))
    assert found["trace"]["gate"]["action"] == "rerank"
    forced = (await client.post("/v1/search", json={**body, "force": "skip"})).json()
    assert forced["retrieval"]["status"] == "skipped"
    assert all(row["raw_score"] is None for row in forced["results"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"query": ""},
        {"query": "   "},
        {"query": "x" * 4001},
        {"query": "x", "top_n": 0},
        {"query": "x", "force": "maybe"},
        {"query": "x", "unknown": 1},
        {"query": 7},
        {},
    ],
)
async def test_a_search_that_cannot_be_done_is_refused(client, wrong):
    answer = await client.post("/v1/search", json=wrong)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid_request"


async def test_a_scorer_that_fails_degrades_the_answer_and_says_so(tmp_path):
    scorer = FailingScorer(ScorerError("the model is broken"))
    async with rig.in_process(tmp_path, files, scorer=scorer) as client:
        user = rig.bearer(rig.key(client.settings))
        found = await client.post("/v1/search", json={"query": "gate"}, headers=user)
        assert found.status_code == 200 and found.json()["results"]
        assert found.json()["retrieval"] == {
            "status": "degraded",
            "band": "answer",
            "degraded": True,
            "degraded_reason": "scorer_error",
            "judged": False,
        }  # fmt: skip
        answer = await client.post(
            "/v1/rerank", json={"query": "q", "documents": ["d"]}, headers=user
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "scorer_failed")
        evaluator = rig.bearer(rig.key(client.settings, role="evaluator"))
        text = (await client.get("/metrics", headers=evaluator)).text
        assert 'rankgate_degraded_total{reason="scorer_error"} 1.0' in text


async def test_rerank_as_cohere_does(client):
    body = {"model": "rankgate", "query": "gate decides bread", "documents": DOCUMENTS, "top_n": 2}
    found = (await client.post("/v2/rerank", json=body)).json()
    assert [r["index"] for r in found["results"]] == [2, 1]
    scores = [r["relevance_score"] for r in found["results"]]
    assert scores == pytest.approx([1.0, 2 / 3])
    assert {"id", "results", "meta"} <= set(found)
    assert found["meta"]["api_version"] == {"version": "2"}
    for wrong in (
        {"unknown": 1},
        {"documents": []},
        {"documents": [1]},
        {"top_n": 0},
        {"query": ""},
    ):
        answer = await client.post("/v2/rerank", json={**body, **wrong})
        assert answer.status_code == 422, wrong
        assert answer.json()["message"] == answer.json()["error"]["message"]


async def test_rerank_as_jina_does(client):
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1]}, DOCUMENTS[2]]
    body = {"query": "gate decides bread", "documents": documents, "truncation": True}
    found = (await client.post("/v1/rerank", json=body)).json()
    assert [r["index"] for r in found["results"]] == [2, 1, 0]
    assert [r["document"]["text"] for r in found["results"]] == [DOCUMENTS[i] for i in (2, 1, 0)]
    assert set(found["usage"]) == {"total_tokens", "prompt_tokens"}
    bare = (await client.post("/v1/rerank", json={**body, "return_documents": False})).json()
    assert all("document" not in r for r in bare["results"])
    for wrong in ({"documents": ["d"] * 1001}, {"documents": ["x" * 200_001]}, {"documents": [3]}):
        assert (await client.post("/v1/rerank", json={**body, **wrong})).status_code == 400


@pytest.mark.parametrize("route", ["/v1/rerank", "/v2/rerank"])
async def test_an_empty_query_orders_nothing(client, route):
    answer = await client.post(route, json={"query": " \n", "documents": DOCUMENTS})
    assert answer.status_code in (400, 422) and "the question is empty" in answer.text


async def test_equal_scores_keep_the_callers_order_and_logits_become_shares(tmp_path):
    logits = FakeScorer({"a": -2.0, "b": 0.0, "c": 3.0}, info=ScorerInfo(id="fake", scale="logit"))
    async with rig.in_process(tmp_path, files, scorer=logits) as client:
        body = {"query": "q", "documents": ["x", "a", "c", "b", "y"]}
        found = (await client.post("/v2/rerank", json=body)).json()["results"]
        assert [r["index"] for r in found] == [2, 0, 3, 4, 1]
        shares = [0.952574, 0.5, 0.5, 0.5, 0.119203]
        assert [r["relevance_score"] for r in found] == pytest.approx(shares, abs=1e-6)


async def test_rerank_needs_no_documents_in_the_index(tmp_path):
    async with rig.in_process(tmp_path, files, collections={}) as client:
        answer = await client.post("/v2/rerank", json={"query": "bread", "documents": DOCUMENTS})
        assert answer.status_code == 200


def test_a_cross_encoder_is_loaded_once_for_all_collections_and_uploads(tmp_path):
    """Each upload makes a new pipeline; it must not load the model again."""
    texts = {"default": rig.TEXTS, "minutes": {"m.txt": "The board met on Monday."}}
    settings, filled = rig.make(tmp_path, files, collections=texts)
    filled.close()
    changed = settings.model_copy(update={"scorer": "cross-encoder:no/such"})
    with Collections(changed, embedder=files.FakeEmbedder()) as opened:
        before = opened.pipeline("default")
        first = before.reranker.scorer
        assert opened.pipeline("minutes").reranker.scorer is first is opened.scorer()
        rig.fill(opened, tmp_path, {"default": {"new.txt": "Something new."}})
        assert opened.pipeline("default") is not before
        assert opened.pipeline("default").reranker.scorer is first


async def test_compare_shows_both_ways_on_the_same_candidates(client):
    body = {"question": "What does the gate decide?", "top_n": 2}
    found = (await client.post("/v1/compare", json=body)).json()
    assert set(found) >= {"with", "without", "policy", "gate", "floor", "k", "retrieve_ms"}
    assert found["with"]["retrieval"]["status"] == "reranked"
    assert found["without"]["retrieval"]["status"] == "skipped"
    ids = {way: {p["id"] for p in found[way]["passages"]} for way in ("with", "without", "policy")}
    assert ids["with"] == ids["without"] == ids["policy"] and len(ids["with"]) == 3
    for way in ("with", "without"):
        assert found[way]["answer"] and found[way]["timings_ms"]["total"] >= 0
        assert sorted(p["before"] for p in found[way]["passages"]) == [1, 2, 3]
    assert all(p["raw_score"] is not None for p in found["with"]["passages"])
    assert all(p["raw_score"] is None for p in found["without"]["passages"])
    assert found["floor"] == {"refuse_below": None, "drop_below": None}
    unfitted = await client.post("/v1/compare", json={**body, "drop_below": 0.2})
    assert unfitted.status_code == 400, "a floor without a model is the caller's mistake"
    assert "rankgate calibrate" in unfitted.json()["error"]["message"]
    narrow = (await client.post("/v1/compare", json={**body, "k": 1})).json()
    assert narrow["k"] == 1 and len(narrow["with"]["passages"]) == 1
    for wrong in ({"refuse_below": 1.5}, {"k": 0}, {"question": ""}, {"scorer": "x"}):
        assert (await client.post("/v1/compare", json={**body, **wrong})).status_code == 400


async def test_health_readiness_metrics(client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    ready = (await client.get("/readyz")).json()
    assert ready["ready"] is True and set(ready["checks"]) == {"store", "models", "scorer", "disk"}
    await client.post("/v1/search", json={"query": "confidential matters"})
    await client.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "confidential matters"}]},
    )
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.text
    assert 'rankgate_outcomes_total{status="reranked"} 2.0' in text
    for stage in ("retrieve", "rerank", "generate", "total"):
        assert f'rankgate_stage_duration_seconds_count{{stage="{stage}"}} 1.0' in text
    assert "confidential" not in text


async def metrics_by(client, **headers):
    return {n: (await client.get("/metrics", headers=h)).status_code for n, h in headers.items()}


async def test_metrics_want_an_evaluators_key_where_there_are_keys(client):
    assert await metrics_by(client, nobody={}) == {"nobody": 200}
    user = rig.bearer(rig.key(client.settings))
    evaluator = rig.bearer(rig.key(client.settings, role="evaluator"))
    wrong = rig.bearer("rk-00000000-wrong")
    callers = {"nobody": {}, "wrong": wrong, "user": user, "evaluator": evaluator}
    assert await metrics_by(client, **callers) == {
        "nobody": 401, "wrong": 401, "user": 403, "evaluator": 200
    }  # fmt: skip
    refused = await client.get("/metrics")
    assert "rankgate_" not in refused.text and refused.headers["WWW-Authenticate"] == "Bearer"
    assert (await client.get("/healthz")).status_code == 200


async def test_metrics_are_open_where_the_owner_says_so(tmp_path):
    async with rig.in_process(tmp_path, files, metrics_open=True) as client:
        user = rig.bearer(rig.key(client.settings))
        assert await metrics_by(client, nobody={}, user=user) == {"nobody": 200, "user": 200}
        assert (await client.get("/v1/models")).status_code == 401


async def test_readiness_names_what_is_missing(client, monkeypatch):
    import shutil

    full = shutil.disk_usage("/")._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert {k: v["ok"] for k, v in answer.json()["checks"].items()} == {
        "store": True, "models": True, "scorer": True, "disk": False
    }  # fmt: skip


async def test_compare_reads_what_a_chat_reads_also_where_the_question_is_misspelt(tmp_path):
    """Found by spelling alone: without it the sourdough is not at the head of the candidates."""
    question = "How long does a sourdouhg rest?"
    async with rig.in_process(tmp_path, files, rewrite="spelling") as client:
        body = {"messages": [{"role": "user", "content": question}]}
        chat = (await client.post("/v1/chat/completions", json=body)).json()["rankgate"]
        found = (await client.post("/v1/compare", json={"question": question})).json()
    assert chat["also_searched"] == [{"text": "How long does a sourdough rest?", "why": "spelling"}]

    def fused(trace):
        return [(r["id"], r["before"], r["dense"], r["bm25"], r["fused"]) for r in trace["kept"]]

    assert fused(found["policy"]["trace"]) == fused(chat["trace"])
    for way in ("with", "without", "policy"):
        assert found[way]["also_searched"] == chat["also_searched"]
        assert found[way]["trace"]["searched"] == chat["trace"]["searched"]
