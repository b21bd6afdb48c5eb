"""TREC judgements and runs."""

import pytest

from rankgate_eval.data.loading import load_dataset
from rankgate_eval.data.readers import read_run, read_trec
from rankgate_eval.errors import DatasetError


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "d1", "text": "x"}\n{"_id": "d2", "text": "y"}\n'
    )
    (tmp_path / "topics.tsv").write_text("301\tcrime\n302\tpolio\n")
    (tmp_path / "qrels.txt").write_text("301 0 d1 2\n301 0 d2 -1\n302 0 d2 0\n")
    return tmp_path


def test_qrels(parts):
    data, report = load_dataset(
        parts / "qrels.txt", corpus=parts / "corpus.jsonl", queries=parts / "topics.tsv"
    )
    assert data.qrels == {"301": {"d1": 2, "d2": -1}, "302": {"d2": 0}}
    assert data.judged() == ["301"] and data.unanswerable() == ["302"]
    assert report.counts["judgements"] == 3


def test_qrels_errors(parts):
    (parts / "qrels.txt").write_text("301 0 d1 1\n301 d1 1\n301 0 d2 x\n")
    (parts / "topics.tsv").write_text("301\tcrime\n302 polio\n")
    raw = read_trec(
        corpus=parts / "corpus.jsonl", queries=parts / "topics.tsv", qrels=parts / "qrels.txt"
    )
    found = {(e.place.file.rsplit("/", 1)[-1], e.place.line) for e in raw.errors}
    assert found == {("topics.tsv", 2), ("qrels.txt", 2), ("qrels.txt", 3)}


def run_of(tmp_path, text):
    file = tmp_path / "bm25.run"
    file.write_text(text)
    return file


def test_run_is_ordered_by_score_then_rank_then_line(tmp_path):
    file = run_of(
        tmp_path,
        "1 Q0 z 3 0.5 mine\n1 Q0 a 2 0.5 mine\n1 Q0 top 1 9e0 mine\n1 Q0 last 4 -1 mine\n"
        "2 Q0 y 1 1 mine\n2 Q0 b 1 1 mine\n",
    )
    run = read_run(file)
    assert run.name == "mine" and not run.warnings
    assert run.lists == {"1": ("top", "a", "z", "last"), "2": ("y", "b")}


def test_run_ranks_that_disagree_are_told(tmp_path):
    run = read_run(run_of(tmp_path, "1 Q0 a 1 0.1 t\n1 Q0 b 2 0.9 t\n"))
    assert run.lists["1"] == ("b", "a")
    assert [w.code for w in run.warnings] == ["ranks_disagree"]


def test_run_errors_come_together(tmp_path):
    file = run_of(
        tmp_path,
        "1 Q0 a 1 nan t\n1 Q0 a 2 inf t\n1 Q0 b 3 0.5 t\n1 Q0 b 4 0.4 t\n1 Q0 c 5\n"
        "1 Q0 c five 1 t\n1 Q0 ghost 7 0.1 t\n",
    )
    with pytest.raises(DatasetError) as caught:
        read_run(file, passages={"a", "b", "c"})
    found = [(f.code, f.place.line) for f in caught.value.findings]
    assert found == [
        ("bad_score", 1),
        ("bad_score", 2),
        ("duplicate", 4),
        ("unreadable", 5),
        ("wrong_type", 6),
        ("unknown_passage", 7),
    ]


def test_run_with_queries_of_another_set_is_a_warning(tmp_path):
    run = read_run(run_of(tmp_path, "1 Q0 a 1 1 t\n9 Q0 a 1 1 t\n"), queries={"1"})
    assert list(run.lists) == ["1"] and [w.code for w in run.warnings] == ["unknown_query"]


@pytest.mark.parametrize("name", ["absent.run", "empty.run"])
def test_run_without_rows(tmp_path, name):
    (tmp_path / "empty.run").write_text("\n")
    with pytest.raises(DatasetError, match=name):
        read_run(tmp_path / name)
