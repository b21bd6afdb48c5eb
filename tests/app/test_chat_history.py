"""Follow-up questions over HTTP: earlier messages, kept turns, what is shown, the skip audit."""

import asyncio

import ingest_files as files
import pytest
import server_rig as rig

from rankgate import Policy, RelevanceModel
from rankgate.decide.gate import Condition, Gate, Rule
from rankgate.decide.logistic import Feature, Logistic

FIRST = "How long does a sourdough rest?"
NEXT = "And where?"
BREAD = rig.TEXTS["bread.txt"]


@pytest.fixture
async def client(tmp_path):
    async with rig.in_process(tmp_path, files) as found:
        yield found


def message(role, content):
    return {"role": role, "content": content}


async def ask(client, *messages, headers=None, **more):
    body = {"messages": list(messages), **more}
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["rankgate"]


async def test_a_single_question_is_searched_alone(client):
    told = await ask(client, message("user", FIRST))
    assert told["also_searched"] == []
    assert told["searched_for"] == FIRST


async def test_earlier_messages_of_a_request_are_its_history(client):
    told = await ask(
        client,
        message("system", "You are kind."),
        message("user", FIRST),
        message("assistant", "Twelve hours. [1]"),
        message("user", NEXT),
    )
    assert [row["text"] for row in told["also_searched"]] == [
        f"{NEXT} {FIRST}",
        f"{NEXT} {FIRST} Twelve hours.",
    ]
    assert told["searched_for"] == f"{NEXT} {FIRST}"
    assert all(row["why"] == "history" for row in told["also_searched"])
    assert told["sources"][0]["quotes"][0]["text"] == BREAD


async def test_the_turns_of_a_kept_conversation_are_the_history_whatever_is_sent(client):
    ada = rig.bearer(rig.key(client.settings, name="Ada"))
    made = await client.post("/v1/conversations", json={}, headers=ada)
    kept = made.json()["id"]
    await ask(client, message("user", FIRST), conversation=kept, headers=ada)
    told = await ask(
        client,
        message("user", "Something that was never asked here"),
        message("user", NEXT),
        conversation=kept,
        headers=ada,
    )
    searched = [row["text"] for row in told["also_searched"]]
    assert searched[0] == f"{NEXT} {FIRST}"
    assert "never asked" not in " ".join(searched)
    turns = (await client.get(f"/v1/conversations/{kept}", headers=ada)).json()["turns"]
    assert turns[1]["question"] == NEXT  # kept in the user's words
    assert turns[1]["details"]["also_searched"] == told["also_searched"]


async def test_the_setting_takes_it_off(tmp_path):
    async with rig.in_process(tmp_path, files, condense="off", rewrite="off") as client:
        told = await ask(
            client, message("user", FIRST), message("assistant", "12 h"), message("user", NEXT)
        )
        assert told["also_searched"] == []


async def test_a_mended_question_is_shown(client):
    told = await ask(client, message("user", "How long does a sourduogh rest?"))
    assert told["also_searched"] == [{"text": FIRST, "why": "spelling"}]
    assert told["sources"][0]["quotes"][0]["text"] == BREAD


async def test_skipped_questions_are_measured_after_the_answer(tmp_path):
    model = RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=10.0, mean=0.3),)), scale="fake"
    )
    first = RelevanceModel(model=Logistic(features=(Feature(name="dense", weight=1.0),)))
    always = Rule(name="always", conditions=(Condition(signal="candidates", op=">=", value=0),))
    policy = Policy.unfitted(k=50, top_n=1).with_section(
        "hybrid", reranked=model, first_stage=first, gate=Gate(rules=(always,))
    )
    policy.save(tmp_path / "policy.json")
    changes = {"policy": tmp_path / "policy.json", "skip_audit_rate": 1.0}
    async with rig.in_process(tmp_path, files, **changes) as client:
        told = await ask(client, message("user", FIRST))
        assert told["retrieval"]["status"] == "skipped"
        skip_audit = client.app.state.server.skip_audit
        await asyncio.to_thread(skip_audit.drain)
        found = skip_audit.summary()
        assert (found.n, found.judged, found.dropped, found.failed) == (1, 1, 0, 0)
        page = await client.get("/quality")
        assert page.status_code == 200
        harm = page.text.split('id="harm"', 1)[1]
        assert f"{found.harmed} of {found.judged}, " in harm
        assert f"Other passages kept in {found.set_changed} of 1" in harm
    assert FIRST.encode() not in (client.settings.data_dir / "skip_audit.sqlite").read_bytes()
