"""The feedback log as a data set: verdicts become judgements, and questions nobody answered go."""

import json
from datetime import UTC, datetime

import pytest

from rankgate.errors import InputError
from rankgate.feedback import Judgement, append_feedback
from rankgate_eval.data.loading import load_dataset, read_dataset

TEXTS = {"p1": "A sourdough rests for twelve hours.", "p2": "The harbour has ships.", "p3": "Rye."}


def judged(query, passage, relevant, *, source="thumb", minute=0):
    return Judgement(
        query=query,
        passage_id=passage,
        passage_text=TEXTS[passage],
        relevant=relevant,
        source=source,
        time=datetime(2026, 1, 1, 12, minute, tzinfo=UTC),
    )


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "feedback.jsonl"
    append_feedback(
        file,
        [
            judged("How long does it rest?", "p1", False, minute=1),
            judged("How long does it rest?", "p1", True, minute=2),
            judged("How long does it rest?", "p2", False),
            judged("What is rye?", "p3", False),
            judged("Which ships?", "p2", True, source="opened"),
        ],
    )
    return file


def test_the_latest_verdicts_are_the_judgements(log):
    data, report = load_dataset(log)
    assert data.corpus == TEXTS
    assert list(data.queries.values()) == ["How long does it rest?", "Which ships?"]
    first, second = data.queries
    assert data.qrels == {first: {"p1": 1, "p2": 0}, second: {"p2": 1}}
    warned = [w for w in report.warnings if w.code == "no_relevant_passage"]
    assert len(warned) == 1 and "1 questions" in warned[0].message


def test_over_a_corpus_passages_are_found_by_their_text(log, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    rows = [{"_id": f"new-{i}", "text": t} for i, t in TEXTS.items()]
    rows.append({"_id": "other", "text": "Something nobody was asked about."})
    corpus.write_text("".join(json.dumps(r) + "\n" for r in rows))
    data, _ = load_dataset(log, corpus=corpus)
    assert len(data.corpus) == 4
    assert [data.relevant(q) for q in data.queries] == [("new-p1",), ("new-p2",)]


def test_a_torn_line_is_a_warning_and_another_shape_is_an_error(log):
    with log.open("a") as stream:
        stream.write('{"version": 1, "time": "20')
    assert [w.code for w in read_dataset(log).warnings] == ["no_relevant_passage", "torn_lines"]
    with log.open("a") as stream:
        stream.write('\n{"verdict": "perhaps"}\n')
    with pytest.raises(InputError, match=r"feedback\.jsonl:7"):
        read_dataset(log)


def test_questions_are_still_read_as_questions(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"question": "Why?", "passage": "Because.", "verdict": "ok"}) + "\n")
    data, _ = load_dataset(file)
    assert list(data.queries.values()) == ["Why?"]
