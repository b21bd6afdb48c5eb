"""Compare over HTTP: which scorers there are, which was asked for, and who may ask."""

import browser_kit as kit
import ingest_files as files
import pytest
import server_rig as rig

pytestmark = pytest.mark.model
QUESTION = "What does the gate decide?"
PLAIN = "late-interaction/all-MiniLM-L6-v2"


@pytest.fixture
async def client(tmp_path, encoder):
    """An application with a scorer of its own, over an encoder for late interaction."""
    settings = {"policy": kit.policy_file(tmp_path)}
    async with rig.in_process(tmp_path, files, embedder=encoder, **settings) as found:
        yield found


async def test_the_list_names_each_scorer_and_its_scale(client):
    found = (await client.get("/v1/compare/scorers")).json()["scorers"]
    assert [s["configured"] for s in found] == [True, False, False, False]
    assert [s["scale"] for s in found] == ["fake", "maxsim-head", "maxsim-mean", "maxsim-head"]
    assert found[1]["id"].startswith(f"{PLAIN}+query-") and found[2]["id"] == PLAIN
    missing = await client.get("/v1/compare/scorers", params={"collection": "none"})
    assert missing.status_code == 404


async def test_the_asked_scorer_reads_and_says_what_does_not_apply(client):
    own = (await client.post("/v1/compare", json={"question": QUESTION})).json()
    assert own["scorer"]["configured"] and own["scorer"]["fitted"] and own["scorer"]["note"] is None
    assert own["with"]["floor"] == own["without"]["floor"] == own["floor"]
    body = {"question": QUESTION, "scorer": PLAIN}
    found = (await client.post("/v1/compare", json=body)).json()
    assert found["scorer"]["id"] == found["with"]["trace"]["scorer"] == PLAIN
    assert found["scorer"]["raw_order"] and not found["scorer"]["configured"]
    assert "maxsim-mean" in found["scorer"]["note"]
    assert all(p["relevance_score"] is None for p in found["with"]["passages"])
    assert any(p["raw_score"] is not None for p in found["with"]["passages"])
    assert [p["relevance_score"] for p in found["without"]["passages"]] == [
        p["relevance_score"] for p in own["without"]["passages"]
    ]


async def test_a_policy_for_another_scorer_gives_its_floor_to_one_way_only(tmp_path, encoder):
    async with rig.in_process(tmp_path, files, embedder=encoder) as client:
        head = (await client.get("/v1/compare/scorers")).json()["scorers"][2]["id"]
        found = (
            await client.post("/v1/compare", json={"question": QUESTION, "scorer": head})
        ).json()
        assert not found["scorer"]["fitted"]
        assert "The policy was not fitted for this scorer" in found["scorer"]["note"]
        assert found["with"]["floor"] == {"refuse_below": None, "drop_below": None}
        assert found["gate"]["reason"] == "no_gate"


@pytest.mark.parametrize("wrong", ["", "none", "cross-encoder/anything", 7, "x" * 301])
async def test_a_scorer_that_is_not_there_is_refused(client, wrong):
    sent = await client.post("/v1/compare", json={"question": QUESTION, "scorer": wrong})
    assert sent.status_code == 400, sent.text


async def test_only_evaluators_may_ask(client):
    secret = rig.key(client.settings)
    headers = rig.bearer(secret)
    assert (await client.get("/v1/compare/scorers", headers=headers)).status_code == 403
    sent = await client.post("/v1/compare", json={"question": QUESTION}, headers=headers)
    assert sent.status_code == 403
