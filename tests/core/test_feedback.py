"""The feedback log: what goes in comes out, what is torn is counted, what is wrong is named."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from jsonschema import Draft202012Validator

from rankgate.errors import InputError
from rankgate.feedback import (
    FEEDBACK_SOURCES,
    Judgement,
    append_feedback,
    feedback_schema,
    read_feedback,
)
from rankgate_eval.train.sources import load_source

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def judged(**changed):
    return Judgement(
        **{
            "query": "how is it reset",
            "passage_id": "p1",
            "passage_text": "hold the button",
            "relevant": True,
            "source": "thumb",
            "time": NOON,
            **changed,
        }
    )


def test_the_schema_is_a_schema_and_knows_the_same_sources():
    schema = feedback_schema()
    Draft202012Validator.check_schema(schema)
    assert tuple(schema["properties"]["source"]["enum"]) == FEEDBACK_SOURCES


def test_what_is_appended_is_read_back(tmp_path):
    log = tmp_path / "feedback.jsonl"
    first = judged(rank=3, relevance_score=0.0, outcome="reranked", policy="p", session="s")
    first = replace(first, collection="handbook")
    second = judged(query="ümlaut \u2028 line", relevant=False, source="reask")
    append_feedback(log, [first])
    append_feedback(log, [second])
    read = read_feedback(log)
    assert read.judgements == (first, second)
    assert read.torn == 0
    older = json.loads(log.read_text("utf-8").split("\n")[1])
    assert "collection" not in older and read.judgements[1].collection is None
    assert log.stat().st_mode & 0o077 == 0, "questions are nobody else's business"
    assert json.loads(log.read_text("utf-8").split("\n")[0])["relevance_score"] == 0.0


def test_a_writer_killed_within_a_line_costs_that_line_alone(tmp_path):
    log = tmp_path / "feedback.jsonl"
    append_feedback(log, [judged(), judged(passage_id="p2")])
    whole = log.read_bytes()
    log.write_bytes(whole[:-30])
    assert (len(read_feedback(log).judgements), read_feedback(log).torn) == (1, 1)
    append_feedback(log, [judged(passage_id="p3")])
    again = read_feedback(log)
    assert [j.passage_id for j in again.judgements] == ["p1", "p3"]
    assert again.torn == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source": "guess"}, "source"),
        ({"query": ""}, "query"),
        ({"rank": 0}, "rank"),
        ({"relevance_score": 1.5}, "relevance_score"),
        ({"time": NOON.replace(tzinfo=None)}, "time zone"),
    ],
)
def test_what_the_schema_forbids_is_not_written(tmp_path, changed, said):
    log = tmp_path / "feedback.jsonl"
    with pytest.raises(InputError, match=said):
        append_feedback(log, [judged(), judged(**changed)])
    assert not log.exists()


@pytest.mark.parametrize(
    "line", ["nonsense", '{"version": 1}', '{"version": 2, "time": "x"}', "[1]"]
)
def test_a_wrong_line_is_named(tmp_path, line):
    log = tmp_path / "feedback.jsonl"
    append_feedback(log, [judged()])
    with log.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=r"feedback\.jsonl:2"):
        read_feedback(log)


def test_a_thumb_outweighs_what_was_inferred_and_the_latest_outweighs_the_older(tmp_path):
    log = tmp_path / "feedback.jsonl"
    later = NOON + timedelta(hours=1)
    append_feedback(
        log,
        [
            judged(passage_id="a", source="thumb", relevant=False),
            judged(passage_id="a", source="opened", relevant=True, time=later),
            judged(passage_id="b", source="opened", relevant=True),
            judged(passage_id="b", source="reask", relevant=False, time=later),
            judged(passage_id="c", source="thumb", relevant=True, time=later, passage_text="new"),
            judged(passage_id="c", source="thumb", relevant=False, passage_text="old"),
        ],
    )
    read = read_feedback(log)
    assert read.verdicts() == {"how is it reset": {"a": False, "b": False, "c": True}}
    assert read.passages()["c"] == "new"


def test_training_takes_questions_that_something_answered(tmp_path):
    log = tmp_path / "feedback.jsonl"
    append_feedback(
        log,
        [
            judged(passage_id="a"),
            judged(passage_id="b", relevant=False, passage_text="another button"),
            judged(query="only complaints", passage_id="b", relevant=False, passage_text="x"),
        ],
    )
    corpus = load_source(log, licence="own").corpus
    (query,) = corpus.queries
    assert (query.text, query.positives, query.negatives) == ("how is it reset", ("a",), ("b",))
    assert corpus.source == "feedback" and corpus.licence == "own"
    empty = tmp_path / "complaints.jsonl"
    append_feedback(empty, [judged(relevant=False)])
    with pytest.raises(InputError, match="none of its judgements says that a passage helped"):
        load_source(empty)
