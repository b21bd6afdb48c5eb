"""Handing a feedback log on: each verdict once, in forms that the readers take."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from rankgate.errors import InputError
from rankgate.feedback import Judgement, append_feedback, read_feedback
from rankgate.live.feedback_export import export_beir, export_jsonl, of_sources
from rankgate_eval.train.sources import load_source

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def judged(query, passage, relevant, *, source="thumb", minute=0, text=None):
    return Judgement(
        query=query,
        passage_id=passage,
        passage_text=f"text of {passage}" if text is None else text,
        relevant=relevant,
        source=source,
        time=NOON + timedelta(minutes=minute),
        session="conversation-1",
        rank=1,
    )


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "feedback.jsonl"
    append_feedback(
        file,
        [
            judged("one", "a", True, source="opened", minute=1),
            judged("one", "a", False, source="reask", minute=2),
            judged("one", "a", True, minute=3),
            judged("one", "a", False, source="reask", minute=4),
            judged("one", "b", False, minute=5),
            judged("two \u00fc", "c", True, source="opened", minute=6, text="old words"),
            judged("two \u00fc", "c", True, source="opened", minute=7, text="new words"),
            judged("complaint", "b", False, source="reask", minute=8),
        ],
    )
    with file.open("ab") as stream:
        stream.write(b'{"version": 1, "time": "2026')
    return read_feedback(file)


def test_a_log_holds_each_verdict_that_counts_once_and_no_session(log, tmp_path):
    done = export_jsonl(log, tmp_path / "out.jsonl")
    assert (done.judgements, done.questions, done.passages) == (4, 3, 3)
    assert (done.left_out, done.torn) == (1, 1)
    again = read_feedback(tmp_path / "out.jsonl")
    assert again.verdicts() == log.verdicts()
    assert again.passages() == log.passages() | {"c": "new words"}
    assert [(j.query, j.passage_id, j.source) for j in again.judgements] == [
        ("one", "a", "thumb"),
        ("one", "b", "thumb"),
        ("two \u00fc", "c", "opened"),
        ("complaint", "b", "reask"),
    ]
    assert all(j.session is None and j.rank == 1 for j in again.judgements)
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o077 == 0
    trained = load_source(tmp_path / "out.jsonl").corpus
    assert [(q.text, q.positives, q.negatives) for q in trained.queries] == [
        ("one", ("a",), ("b",)),
        ("two \u00fc", ("c",), ()),
    ]


def test_a_folder_holds_questions_that_something_answered(log, tmp_path):
    done = export_beir(log, tmp_path / "beir")
    assert (done.judgements, done.questions, done.passages, done.left_out) == (3, 2, 3, 1)
    rows = {
        name: [json.loads(x) for x in (tmp_path / "beir" / name).read_text("utf-8").splitlines()]
        for name in ("corpus.jsonl", "queries.jsonl")
    }
    assert {r["_id"]: r["text"] for r in rows["corpus.jsonl"]} == {
        "a": "text of a", "b": "text of b", "c": "new words"
    }  # fmt: skip
    assert [r["text"] for r in rows["queries.jsonl"]] == ["one", "two \u00fc"]
    assert (tmp_path / "beir" / "qrels.tsv").read_text() == (
        "query-id\tcorpus-id\tscore\nfeedback-1\ta\t1\nfeedback-1\tb\t0\nfeedback-2\tc\t1\n"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["beir", "feedback.jsonl"]


def test_a_folder_over_a_corpus_keeps_what_was_judged_and_has_gone(log, tmp_path):
    whole = {"c": "as indexed now", "x": "never judged", "y": "nor this"}
    done = export_beir(log, tmp_path / "beir", passages=whole)
    assert done.passages == 5
    lines = (tmp_path / "beir" / "corpus.jsonl").read_text("utf-8").splitlines()
    texts = {r["_id"]: r["text"] for r in map(json.loads, lines)}
    assert texts == {"a": "text of a", "b": "text of b", **whole}


def test_only_some_kinds(log, tmp_path):
    done = export_jsonl(of_sources(log, ["opened"]), tmp_path / "opened.jsonl")
    assert (done.judgements, done.questions) == (2, 2)
    assert read_feedback(done.path).verdicts() == {"one": {"a": True}, "two \u00fc": {"c": True}}
    with pytest.raises(InputError, match="none of them says that a passage helped"):
        export_beir(of_sources(log, ["reask"]), tmp_path / "beir")
    with pytest.raises(InputError, match="nothing to export"):
        export_jsonl(of_sources(log, ["cited"]), tmp_path / "cited.jsonl")
    assert not (tmp_path / "beir").exists() and not (tmp_path / "cited.jsonl").exists()


@pytest.mark.parametrize("export", [export_jsonl, export_beir])
def test_nothing_is_overwritten(log, tmp_path, export):
    there = tmp_path / "there"
    there.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        export(log, there)
    assert there.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["feedback.jsonl", "there"]
