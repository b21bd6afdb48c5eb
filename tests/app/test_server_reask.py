"""Thumbs, opened sources and re-asks of a running server, exported, and read by both readers."""

import json

import ingest_files as files
import pytest
import server_rig as rig
from typer.testing import CliRunner

from rag_app.quality.reask import WITHIN
from rankgate.cli import build_app
from rankgate.feedback import read_feedback
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.train.sources import load_source

BREAD = "How long does a sourdough rest?"
GATE = "What does the gate decide?"
HARBOUR = "Who logs every ship?"


@pytest.fixture
async def client(tmp_path):
    async with rig.in_process(tmp_path, files, feedback=True) as found:
        yield found


async def begin(client):
    return (await client.post("/v1/conversations", json={})).json()["id"]


async def ask(client, conversation, question, **more):
    body = {
        "messages": [{"role": "user", "content": question}],
        "conversation": conversation,
        **more,
    }
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return None if more.get("stream") else answer.json()["rankgate"]


async def rate(client, conversation, told, **what):
    body = {"conversation": conversation, "turn": told["turn"], **what}
    answer = await client.post("/v1/feedback", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["judgements"]


def log_of(client):
    file = client.settings.data_dir / "feedback.jsonl"
    return read_feedback(file).judgements if file.exists() else ()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_asked_again_speaks_against_what_was_shown(client, stream):
    one = await begin(client)
    first = await ask(client, one, BREAD)
    assert log_of(client) == ()
    await ask(client, one, GATE)
    assert log_of(client) == (), "another question is none asked again"
    await ask(client, one, "how long does a Sourdough rest", stream=stream)
    rows = log_of(client)
    assert [(j.query, j.source, j.relevant) for j in rows] == [(BREAD, "reask", False)] * len(
        first["sources"]
    )
    assert [j.passage_id for j in rows] == [s["chunk_id"] for s in first["sources"]]
    assert rows[0].passage_text.endswith(rig.TEXTS["bread.txt"])
    assert (rows[0].session, rows[0].collection) == (one, "default")
    assert rows[0].outcome == "reranked"


async def test_in_another_conversation_or_later_it_is_a_new_need(client, tmp_path):
    one, other = await begin(client), await begin(client)
    await ask(client, one, BREAD)
    await ask(client, other, BREAD)
    assert log_of(client) == ()
    kept = client.app.state.server.conversations
    ago = f"-{WITHIN.total_seconds() + 1} seconds"
    files.run_sql(kept.path, "UPDATE turn SET asked = datetime(asked, ?) || '.000000'", ago)
    await ask(client, one, BREAD)
    assert log_of(client) == ()
    await ask(client, one, BREAD)
    assert [j.source for j in log_of(client)] == ["reask"]


async def test_it_is_noted_only_where_feedback_is_on(tmp_path):
    async with rig.in_process(tmp_path, files) as client:
        one = await begin(client)
        await ask(client, one, BREAD)
        await ask(client, one, BREAD)
        assert not (client.settings.data_dir / "feedback.jsonl").exists()


async def test_a_log_that_cannot_be_written_costs_no_answer(client):
    one = await begin(client)
    await ask(client, one, BREAD)
    (client.settings.data_dir / "feedback.jsonl").mkdir()
    told = await ask(client, one, BREAD)
    assert told["status"] == "answered"


async def test_a_question_that_leans_on_another_is_new_each_time(client):
    one = await begin(client)
    for question in (BREAD, "And in winter?", GATE, "And in winter?"):
        await ask(client, one, question)
    assert log_of(client) == ()


@pytest.mark.parametrize("first_wrong", [True, False])
async def test_a_misspelt_question_is_the_one_that_was_meant(client, first_wrong):
    one = await begin(client)
    asked = [BREAD.replace("sourdough", "sourdouhg"), BREAD]
    first, second = [await ask(client, one, q) for q in (asked if first_wrong else reversed(asked))]
    wrong = first if first_wrong else second
    assert [a["why"] for a in wrong["also_searched"]] == ["spelling"]
    assert {j.passage_id for j in log_of(client)} == {s["chunk_id"] for s in first["sources"]}


async def test_a_turn_that_cannot_be_read_costs_no_answer(client, caplog):
    one = await begin(client)
    kept = client.app.state.server.conversations
    kept.append(
        one,
        owner="local",
        question=BREAD,
        answer="Twelve hours. [1]",
        status="answered",
        details={"sources": [{"number": 1}]},  # no chunk_id: a KeyError where it is judged
    )
    told = await ask(client, one, BREAD)
    assert told["status"] == "answered" and "could not be noted" in caplog.text
    assert [t.id for t in kept.get(one, owner="local").turns][1:] == [told["turn"]]


async def used(client):
    """Thumbs, opened sources and a re-ask; the chunk ids of bread, gate and harbour."""
    one = await begin(client)
    bread, gate = await ask(client, one, BREAD), await ask(client, one, GATE)
    harbour = await ask(client, one, HARBOUR)
    await ask(client, one, HARBOUR.lower())
    assert await rate(client, one, bread, verdict="up") == 1
    assert await rate(client, one, gate, opened=1) == 1
    await rate(client, one, bread, verdict="up")
    return [told["sources"][0]["chunk_id"] for told in (bread, gate, harbour)]


def invoke(client, *args):
    data = ("--data-dir", str(client.settings.data_dir))
    return CliRunner().invoke(build_app(), ["feedback", "export", *args, *data])


async def test_what_a_running_server_was_told_reaches_training_and_evaluation(client, tmp_path):
    bread, gate, harbour = await used(client)
    # The server is running, and holds the folder.
    done = invoke(client, str(tmp_path / "out.jsonl"), "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["judgements"], told["questions"], told["left_out"]) == (3, 3, 1)

    learned = load_source(tmp_path / "out.jsonl").corpus
    assert learned.source == "feedback"
    assert {q.text: q.positives for q in learned.queries} == {BREAD: (bread,), GATE: (gate,)}

    data, report = load_dataset(tmp_path / "out.jsonl")
    assert {data.queries[q] for q in data.qrels} == {BREAD, GATE}
    assert [w.code for w in report.warnings if w.code == "no_relevant_passage"]

    done = invoke(client, str(tmp_path / "beir"), "--format", "beir")
    assert done.exit_code == 0, done.output
    assert "2 verdicts on 2 questions, 3 passages" in done.stdout
    assert "1 questions without a passage that helped; they are not in it" in done.stderr
    data, report = load_dataset(tmp_path / "beir")
    assert set(data.corpus) == {bread, gate, harbour}, "the whole collection is the corpus"
    assert {data.queries[q]: found for q, found in data.qrels.items()} == {
        BREAD: {bread: 1}, GATE: {gate: 1}
    }  # fmt: skip
    assert {q.text for q in load_source(tmp_path / "beir").corpus.queries} == {BREAD, GATE}

    done = invoke(client, str(tmp_path / "small"), "--format", "beir", "--judged-only")
    assert set(load_dataset(tmp_path / "small")[0].corpus) == {bread, gate}


@pytest.mark.slow
@pytest.mark.model
async def test_rankgate_eval_takes_both_forms(client, tmp_path):
    await used(client)
    invoke(client, str(tmp_path / "log.jsonl"))
    invoke(client, str(tmp_path / "beir"), "--format", "beir")
    for data in ("log.jsonl", "beir"):
        done = CliRunner().invoke(
            build_app(),
            [
                *("eval", str(tmp_path / data), "--out", str(tmp_path / f"of-{data}")),
                *("--cache", str(tmp_path / "cache")),
            ],
        )
        assert done.exit_code == 3, done.output  # two questions are no proof of anything
        result = json.loads((tmp_path / f"of-{data}" / "result.json").read_text())
        assert result["n"] == 2, "both questions are measured"


async def test_what_was_said_about_another_collection_stays_out(tmp_path):
    texts = {"default": rig.TEXTS, "minutes": {"m.txt": "The board met on Monday."}}
    async with rig.in_process(tmp_path, files, collections=texts, feedback=True) as client:
        await used(client)
        made = await client.post("/v1/conversations", json={"collection": "minutes"})
        other = made.json()["id"]
        met = await ask(client, other, "When did the board meet?", model="rankgate:minutes")
        assert await rate(client, other, met, verdict="up") == 1
        invoke(client, str(tmp_path / "default"), "--format", "beir")
        data, _ = load_dataset(tmp_path / "default")
        assert list(data.queries.values()) == [BREAD, GATE] and len(data.corpus) == 3
        invoke(client, str(tmp_path / "m"), "--format", "beir", "--collection", "minutes")
        data, _ = load_dataset(tmp_path / "m")
        assert list(data.queries.values()) == ["When did the board meet?"]
        assert list(data.corpus.values()) == ["m\n\nThe board met on Monday."]
        # Its passages are gone: only the line itself says where it belongs.
        server = client.app.state.server
        record = server.collections.store("minutes").documents()[0]
        server.collections.write("minutes", lambda store: store.remove([record.id])).result(60)
        wanted = {"default": [BREAD, GATE], "minutes": ["When did the board meet?"]}
        for name, questions in wanted.items():
            out = tmp_path / f"judged-{name}"
            more = ("--collection", name)
            done = invoke(client, str(out), "--format", "beir", "--judged-only", *more)
            assert done.exit_code == 0, done.output
            assert list(load_dataset(out)[0].queries.values()) == questions
            done = invoke(client, f"{out}.jsonl", *more)
            assert done.exit_code == 0 and done.stderr.count("older version") == 0, done.output
            rows = read_feedback(f"{out}.jsonl").judgements
            assert {j.query for j in rows if j.relevant} == set(questions)
            assert {j.collection for j in rows} == {name}
        done = invoke(client, str(tmp_path / "none.jsonl"), "--collection", "other")
        assert done.exit_code == 2 and "nothing was said about collection 'other'" in done.stderr


async def test_a_line_of_an_older_log_counts_where_its_passage_is(tmp_path):
    texts = {"default": rig.TEXTS, "minutes": {"m.txt": "The board met on Monday."}}
    async with rig.in_process(tmp_path, files, collections=texts, feedback=True) as client:
        await used(client)
        log = client.settings.data_dir / "feedback.jsonl"
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        for row in rows:
            assert row.pop("collection") == "default"
        gone = {**rows[-1], "query": "Who left?", "passage": {"id": "gone", "text": "Bo left."}}
        log.write_text("".join(json.dumps(row) + "\n" for row in [*rows, gone]))
        for form in ("jsonl", "beir"):
            more = ("--format", form, *(("--judged-only",) if form == "beir" else ()))
            done = invoke(client, str(tmp_path / form), *more)
            assert done.exit_code == 0, done.output
            assert "1 judgements of an older version" in done.stderr
            done = invoke(client, str(tmp_path / f"m-{form}"), *more, "--collection", "minutes")
            assert done.exit_code == 2 and "nothing was said" in done.stderr
        found = {j.query for j in read_feedback(tmp_path / "jsonl").judgements}
        assert found == {BREAD, GATE, HARBOUR}
        assert set(load_dataset(tmp_path / "beir")[0].queries.values()) == {BREAD, GATE}


async def test_what_cannot_be_exported_is_said(client, tmp_path):
    done = invoke(client, str(tmp_path / "out.jsonl"))
    assert done.exit_code == 2 and "feedback = true" in done.stderr
    await used(client)
    for args, said in (
        (("--sources", "thumb,guess"), "--sources takes thumb, reask, opened, cited"),
        (("--sources", "cited"), "nothing to export"),
        (("--format", "beir", "--collection", "empty"), "holds no passage"),
        (("--judged-only",), "--judged-only goes with --format beir"),
    ):
        done = invoke(client, str(tmp_path / "out"), *args)
        assert done.exit_code == 2 and said in done.stderr, done.output
    assert not (tmp_path / "out").exists()
