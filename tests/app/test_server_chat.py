"""OpenAI's chat interface: whole answers, streams, usage, errors in OpenAI's shape."""

import json
from pathlib import Path

import ingest_files as files
import pytest
import server_rig as rig

from rag_app.generate.answer import REFUSAL
from rag_app.generate.errors import GeneratorError
from rankgate import Floor, Policy, RelevanceModel
from rankgate.decide.logistic import Feature, Logistic

ASKED = "How long does a sourdough rest?"


def body(**changes):
    return {"model": "rankgate", "messages": [{"role": "user", "content": ASKED}], **changes}


async def ask(client, **changes):
    return await client.post("/v1/chat/completions", json=body(**changes))


def events(text):
    """The data of each event; every line of a stream is checked on the way."""
    assert text.endswith("\n\n")
    found = []
    for block in text[:-2].split("\n\n"):
        assert block.startswith("data: ") and "\n" not in block, block
        data = block.removeprefix("data: ")
        found.append(data if data == "[DONE]" else json.loads(data))
    return found


@pytest.fixture
async def client(tmp_path):
    async with rig.in_process(tmp_path, files) as found:
        yield found


async def test_a_whole_answer(client):
    answer = (await ask(client)).json()
    assert answer["object"] == "chat.completion" and answer["model"] == "rankgate"
    assert answer["id"].startswith("chatcmpl-") and answer["created"] > 1_700_000_000
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == f"{rig.TEXTS['bread.txt']} [1]"
    usage = answer["usage"]
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    extension = answer["rankgate"]
    assert extension["status"] == "answered" and extension["retrieval"]["status"] == "reranked"
    (source,) = extension["sources"]
    (quote,) = source["quotes"]
    assert quote["text"] == rig.TEXTS["bread.txt"]
    window = {"start": quote["start"], "end": quote["end"]}
    shown = await client.get(f"/v1/documents/{source['document']}/text", params=window)
    assert shown.json()["text"] == quote["text"]


async def test_usage_counts_what_was_read_and_written_by_the_embedders_tokenizer(tmp_path):
    class Counting(files.FakeEmbedder):
        def count_tokens(self, text):
            return len(text.split())

    async with rig.in_process(tmp_path, files, embedder=Counting()) as client:
        answer = (await ask(client)).json()
        kept = answer["rankgate"]["trace"]["kept"]
        pipeline = client.collections.pipeline("default")
        read = pipeline.store.fetch([row["id"] for row in kept])
        assert answer["usage"] == {
            "prompt_tokens": len(ASKED.split()) + sum(len(text.split()) for text, _ in read),
            "completion_tokens": len(answer["choices"][0]["message"]["content"].split()),
            "total_tokens": sum(answer["usage"][k] for k in ("prompt_tokens", "completion_tokens")),
        }


async def test_a_stream_is_framed_as_openai_frames_it(client):
    answer = await ask(client, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    *chunks, last = events(answer.text)
    assert last == "[DONE]"
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    assert len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1
    deltas = [c["choices"][0]["delta"] for c in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""} and deltas[-1] == {}
    finish = [c["choices"][0]["finish_reason"] for c in chunks]
    assert finish == [None] * (len(chunks) - 1) + ["stop"]
    assert not any("usage" in c for c in chunks)
    text = "".join(d.get("content", "") for d in deltas)
    assert text == chunks[-1]["rankgate"]["answer"] == f"{rig.TEXTS['bread.txt']} [1]"
    assert not any("rankgate" in c for c in chunks[:-1])


async def test_a_stream_ends_with_usage_where_it_is_asked_for(client):
    whole = (await ask(client)).json()["usage"]
    answer = await ask(client, stream=True, stream_options={"include_usage": True})
    *chunks, closing, done = events(answer.text)
    assert done == "[DONE]"
    assert closing["choices"] == [] and closing["usage"] == whole
    assert [c["usage"] for c in chunks] == [None] * len(chunks)
    answer = await ask(client, stream=True, stream_options={"include_usage": False})
    assert not any("usage" in c for c in events(answer.text)[:-1])


async def test_line_breaks_stay_inside_an_event(tmp_path):
    pieces = ["one\n\ndata: [DONE]\n\n", "two\r\n", "\u2028end"]
    writer = rig.StepGenerator(pieces)
    writer.let(3)
    async with rig.in_process(tmp_path, files, generator=writer) as client:
        answer = await ask(client, stream=True)
        deltas = [e["choices"][0]["delta"] for e in events(answer.text)[:-1]]
        assert [d["content"] for d in deltas if "content" in d] == ["", *pieces]


async def test_a_generator_that_breaks_off_ends_the_stream_with_an_error(tmp_path):
    writer = rig.StepGenerator(["half "], error=GeneratorError("the LLM hung up"))
    writer.let(2)
    async with rig.in_process(tmp_path, files, generator=writer) as client:
        answer = await ask(client, stream=True)
        assert answer.status_code == 200
        _head, half, error = events(answer.text)
        assert half["choices"][0]["delta"] == {"content": "half "}
        assert error["error"] == {
            "message": "the LLM hung up",
            "type": "server_error",
            "param": None,
            "code": "generator_failed",
        }
        assert "[DONE]" not in answer.text
        whole = await ask(client)
        assert (whole.status_code, whole.json()["error"]["code"]) == (502, "generator_failed")


async def test_a_generator_that_fails_at_once_has_a_status(tmp_path):
    writer = rig.StepGenerator([], error=GeneratorError("nobody there"))
    async with rig.in_process(tmp_path, files, generator=writer) as client:
        for stream in (False, True):
            answer = await ask(client, stream=stream)
            assert answer.status_code == 502 and "nobody there" in answer.text
        text = (await client.get("/metrics")).text
        assert "rankgate_generator_failures_total 2.0" in text


async def test_an_unforeseen_error_in_mid_stream_tells_nothing(tmp_path):
    writer = rig.StepGenerator(["half "], error=RuntimeError("sesame"))
    writer.let(1)
    async with rig.in_process(tmp_path, files, generator=writer) as client:
        answer = await ask(client, stream=True)
        *_, error = events(answer.text)
        assert error["error"]["code"] == "internal" and "sesame" not in answer.text
        assert answer.headers["x-request-id"] in error["error"]["message"]


async def test_a_refusal_is_an_answer_with_a_state_of_its_own(tmp_path):
    strict = RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=0.0, mean=0.0),), intercept=-9.0),
        scale="fake",
    )
    file = tmp_path / "strict.json"
    Policy.unfitted().with_section("hybrid", reranked=strict, floor=Floor(refuse_below=0.5)).save(
        file
    )
    async with rig.in_process(tmp_path, files, policy=file) as client:
        answer = (await ask(client)).json()
        assert answer["choices"][0]["message"]["content"] == REFUSAL
        assert answer["rankgate"]["status"] == "refused" and answer["rankgate"]["sources"] == []
        assert answer["rankgate"]["nearest_topics"]
        chunks = events((await ask(client, stream=True)).text)
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == REFUSAL
        found = (await client.post("/v1/search", json={"query": ASKED})).json()
        assert found["results"] == [] and found["retrieval"]["status"] == "refused"
        text = (await client.get("/metrics")).text
        assert 'rankgate_abstained_total{reason="below_floor"} 3.0' in text


async def test_questions_are_logged_where_somebody_said_so_and_calibration_reads_them(tmp_path):
    from rankgate_eval.calibrate.unlabelled import read_asked

    for told in (False, True):
        folder = tmp_path / str(told)
        folder.mkdir()
        async with rig.in_process(folder, files, question_log=told) as client:
            await ask(client)
            file = Path(client.settings.data_dir) / "question_log.jsonl"
            assert file.exists() is told
    assert file.stat().st_mode & 0o077 == 0, "the words of questions are the owner's"
    assert list(read_asked(file, source="log").questions.values()) == [ASKED]


async def test_weak_evidence_is_answered_and_said_to_be_weak(tmp_path):
    weak = RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=0.0, mean=0.0),)), scale="fake"
    )
    file = tmp_path / "weak.json"
    Policy.unfitted().with_section(
        "hybrid", reranked=weak, floor=Floor(refuse_below=0.1, weak_below=0.9)
    ).save(file)
    async with rig.in_process(tmp_path, files, policy=file) as client:
        answer = (await ask(client)).json()["rankgate"]
        assert (answer["status"], answer["retrieval"]["band"]) == ("answered", "weak")
        found = (await client.post("/v1/search", json={"query": ASKED})).json()
        assert found["results"] and found["retrieval"]["band"] == "weak"


@pytest.mark.parametrize(
    ("messages", "content"),
    [
        ([{"role": "user", "content": [{"type": "text", "text": ASKED}]}], ASKED),
        (
            [
                {"role": "system", "content": "Be terse."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": None},
                {"role": "user", "content": ASKED, "name": "ada"},
            ],
            ASKED,
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:x"}},
                        {"type": "text", "text": ASKED},
                    ],
                }
            ],
            ASKED,
        ),
    ],
)
async def test_messages_of_every_form_are_read(client, messages, content):
    answer = await ask(client, messages=messages, temperature=0, max_tokens=5, tools=[], seed=1)
    assert answer.status_code == 200, answer.text
    assert "twelve hours" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"n": 2}, 400, "n", "invalid_request"),
        ({"n": 0}, 400, "n", "invalid_request"),
        ({"messages": []}, 400, "messages", "invalid_request"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "messages", "invalid_request"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "messages", "invalid_request"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages", "invalid_request"),
        (
            {"messages": [{"role": "pirate", "content": "x"}]},
            400,
            "messages.0.role",
            "invalid_request",
        ),
        ({"messages": "hello"}, 400, "messages", "invalid_request"),
        (
            {"messages": [{"role": "user", "content": "x" * 9000}]},
            400,
            "messages",
            "invalid_request",
        ),
        ({"model": "gpt-4o"}, 404, "model", "model_not_found"),
        ({"model": "rankgate:nothing"}, 404, "model", "model_not_found"),
        ({"model": "rankgate:"}, 404, "model", "model_not_found"),
        ({"conversation": "nothing"}, 404, None, "conversation_not_found"),
    ],
)
async def test_wrong_requests_say_what_is_wrong(client, changes, status, param, code):
    for stream in (False, True):
        answer = await ask(client, stream=stream, **changes)
        assert answer.status_code == status, answer.text
        whole = answer.json()
        assert set(whole) == {"error", "message"} and whole["message"] == whole["error"]["message"]
        error = whole["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"]
        assert (error["type"], error["param"], error["code"]) == (
            "invalid_request_error", param, code
        )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("POST", "/v1/chat/completions", b"{", 400, "invalid_request"),
        ("POST", "/v1/chat/completions", b"[]", 400, "invalid_request"),
        ("POST", "/v1/chat/completions", b"", 400, "invalid_request"),
        (
            "POST",
            "/v1/chat/completions",
            b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
            400,
            "invalid_request",
        ),
        (
            "POST",
            "/v1/feedback",
            b'{"conversation": "\\ud800", "turn": "x", "verdict": "up"}',
            400,
            "invalid_request",
        ),
        ("POST", "/v1/search", b"\xff\xfe", 400, "invalid_request"),
        ("POST", "/v2/rerank", b"{}", 422, "invalid_request"),
        ("POST", "/v1/rerank", b"{}", 400, "invalid_request"),
        ("GET", "/v1/nothing", b"", 404, "not_found"),
        ("GET", "/v1/models/nothing", b"", 404, "model_not_found"),
        ("GET", "/v1/chat/completions", b"", 405, "method_not_allowed"),
        ("PUT", "/v1/search", b"{}", 405, "method_not_allowed"),
        ("GET", "/v1/conversations/nothing/export?format=pdf", b"", 400, "invalid_request"),
        ("GET", "/v1/documents/!!/text", b"", 404, "document_not_found"),
        ("GET", "/v1/documents/bm8/text?start=-1", b"", 400, "invalid_request"),
        ("GET", "/v1/documents/bm8/text", b"", 404, "document_not_found"),
    ],
)
async def test_errors_have_one_shape_everywhere(client, method, path, content, status, code):
    answer = await client.request(
        method, path, content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["type"]) == (code, "invalid_request_error")


async def test_an_empty_collection_says_how_to_begin(tmp_path):
    async with rig.in_process(tmp_path, files, collections={}) as client:
        assert (await client.get("/readyz")).status_code == 200
        for path, asked in (("/v1/chat/completions", body()), ("/v1/search", {"query": "x"})):
            answer = await client.post(path, json=asked)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "empty_collection")
            message = answer.json()["error"]["message"]
            assert "POST /v1/documents" in message and str(tmp_path) not in message
        await rig.upload(client, ("bread.txt", rig.TEXTS["bread.txt"].encode()))
        answer = await ask(client)
        assert "twelve hours" in answer.json()["choices"][0]["message"]["content"]


async def test_models_are_the_collections(tmp_path):
    texts = {"default": rig.TEXTS, "minutes": {"m.txt": "The board met on Monday."}}
    async with rig.in_process(tmp_path, files, collections=texts) as client:
        listed = (await client.get("/v1/models")).json()
        assert [m["id"] for m in listed["data"]] == [
            "rankgate", "rankgate:default", "rankgate:minutes"
        ]  # fmt: skip
        one = (await client.get("/v1/models/rankgate:minutes")).json()
        assert one == {
            "id": "rankgate:minutes", "object": "model", "created": 0, "owned_by": "rankgate"
        }  # fmt: skip
        messages = [{"role": "user", "content": "When did the board meet?"}]
        answer = await ask(client, model="rankgate:minutes", messages=messages)
        assert "Monday" in answer.json()["choices"][0]["message"]["content"]
