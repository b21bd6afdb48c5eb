"""Questions with gold passages or spans, as CSV and as JSON lines."""

import json
import random

import pytest

from rankgate.errors import InputError
from rankgate_eval.data.dataset_check import check_dataset
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.data.readers import read_beir, read_csv, read_questions
from rankgate_eval.data.readers.spans import SpanFinder
from rankgate_eval.errors import DatasetError

CORPUS = [
    {"_id": "p1", "title": "Pumps", "text": "The pump runs at 40 bar.\nIt is blue."},
    {"_id": "p2", "text": "Valves close within two seconds."},
    {"_id": "p3", "text": "Overlap: valves close within two seconds, always."},
]


@pytest.fixture
def corpus(tmp_path):
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in CORPUS), "utf-8")
    return file


def test_csv_with_spans_in_a_corpus(tmp_path, corpus):
    table = tmp_path / "mine.csv"
    table.write_text(
        "id,question,answer,span,team\r\n"
        'x1,"How much\r\npressure?",40 bar,"runs at 40  BAR. It is",ops\r\n'
        "x2,When do valves close?,,valves close within,ops\r\n"
        "x3,Who painted it?,,,\r\n",
        "utf-8",
        newline="",
    )
    data, report = load_dataset(table, corpus=corpus)
    assert data.name == "mine" and set(data.corpus) == {"p1", "p2", "p3"}
    assert data.qrels == {"x1": {"p1": 1}, "x2": {"p2": 1, "p3": 1}}
    assert data.answers("x1") == ("40 bar",) and data.fields["x1"]["team"] == "ops"
    assert data.kind_of("x3") == "unjudged" and data.unanswerable() == []
    assert report.warning_counts["unjudged_queries"] == 1


def test_csv_errors_name_the_line_where_the_row_begins(tmp_path, corpus):
    table = tmp_path / "mine.csv"
    table.write_text(
        'question,span\n"two\nlines","The pump runs"\nok?,not in there\nshort\n,The pump runs\n'
    )
    raw = read_csv(table, corpus=corpus)
    found = {(e.code, e.place.line) for e in raw.errors}
    assert found == {("span_not_found", 4), ("unreadable", 5), ("missing_field", 6)}


def test_csv_stray_quote_ends_reading_with_a_line(tmp_path, corpus):
    table = tmp_path / "mine.csv"
    table.write_text('question,span\na?,The pump\nb?,"x"y\n')
    raw = read_csv(table, corpus=corpus)
    assert [(e.code, e.place.line) for e in raw.errors] == [("unreadable", 3)]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_separators(tmp_path, corpus, sign):
    table = tmp_path / "mine.csv"
    table.write_bytes(
        "\ufeff".encode()
        + sign.join(("Query", "Passage_ID")).encode()
        + b"\n"
        + sign.join(("pressure?", "p1")).encode()
        + b"\n"
    )
    raw = read_csv(table, corpus=corpus)
    assert not raw.errors and [j.passage for j in raw.judgements] == ["p1"]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty"), (b"a,b\n1,2\n", "missing_field"), (b"question\n\xff\n", "unreadable")],
)
def test_csv_that_is_none(tmp_path, content, code):
    table = tmp_path / "mine.csv"
    table.write_bytes(content)
    raw = read_csv(table)
    assert raw.errors[0].code == code and str(table) in str(raw.errors[0])
    assert not check_dataset(raw).ok


def test_gold_passages_form_the_corpus(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text(
        "question,passage,split\n"
        "a?,The pump is blue.,dev\n"
        "b?,the  PUMP is blue.,test\n"
        "A?,Another one.,dev\n"
    )
    data, report = load_dataset(table)
    assert data.corpus == {"p1": "The pump is blue.", "p2": "Another one."}
    assert data.queries == {"q1": "a?", "q2": "b?"}, "equal questions are one"
    assert data.qrels == {"q1": {"p1": 1, "p2": 1}, "q2": {"p1": 1}}
    assert data.splits == {"dev": ("q1",), "test": ("q2",)}
    assert {"gold_only_corpus", "splits_share_passages"} <= set(report.warning_counts)


def test_jsonl_questions(tmp_path, corpus):
    file = tmp_path / "mine.jsonl"
    rows = [
        {"question": "pressure?", "answers": ["40 bar"], "passage_ids": ["p1", "p2"], "x": 1},
        {"text": "closing?", "passage": "Valves close within two seconds.", "id": 7},
        {"query": "colour of the sky?"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data, _ = load_dataset(file, corpus=corpus)
    assert data.queries == {"q1": "pressure?", "7": "closing?", "q3": "colour of the sky?"}
    assert data.relevant("q1") == ("p1", "p2") and data.relevant("7") == ("p2",)
    assert data.fields["q1"] == {"x": 1, "answers": ["40 bar"]}
    assert data.kind_of("q3") == "unjudged" and data.unanswerable() == []


def test_jsonl_errors(tmp_path, corpus):
    file = tmp_path / "mine.jsonl"
    rows = ['{"question": ""}', '{"question": "a", "id": []}', '{"question": "a", "span": [1]}',
            '{"question": "a", "split": 1}', '{"id": "x", "question": "a", "span": "pump"}',
            '{"id": "x", "question": "other", "span": "pump"}', "{"]  # fmt: skip
    file.write_text("\n".join(rows))
    found = {(e.code, e.place.line) for e in read_questions(file, corpus=corpus).errors}
    assert found == {
        ("missing_field", 1),
        ("wrong_type", 2),
        ("wrong_type", 3),
        ("wrong_type", 4),
        ("duplicate_query", 6),
        ("unreadable", 7),
    }


def test_ids_without_a_corpus_lead_nowhere(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "a?", "passage_id": "p1"}\n')
    with pytest.raises(DatasetError, match="no passages"):
        load_dataset(file)


def test_loading_refuses_what_does_not_go_together(tmp_path, corpus):
    with pytest.raises(InputError, match="no data set at"):
        load_dataset(tmp_path / "absent")
    with pytest.raises(InputError, match="leave corpus out"):
        load_dataset(tmp_path, corpus=corpus)
    with pytest.raises(InputError, match="leave queries"):
        load_dataset(corpus, queries=corpus)
    plain = tmp_path / "qrels"
    plain.write_text("a 0 p1 1\n")
    with pytest.raises(InputError, match="corpus and queries"):
        load_dataset(plain)


def test_spans_never_cross_passages():
    finder = SpanFinder([("a", "one two"), ("b", ""), ("c", "two three two")])
    assert finder.find("two") == ["a", "c"]
    assert finder.find("two two") == [] and finder.find("two\ntwo") == []
    assert finder.find(" ") == [] and finder.find("ONE\u00a0two") == ["a"]
    assert SpanFinder([]).find("x") == []


@pytest.mark.parametrize("name", ["q.csv", "q.jsonl", "corpus.jsonl", "splits.json", "qrels.tsv"])
def test_no_damage_makes_a_reader_raise(tmp_path, name):
    """Bytes cut, doubled and overwritten: findings, never a traceback."""
    whole = {
        "q.csv": b'id,question,span\n1,"a, or b?",The pump\n2,c?,valves close\n',
        "q.jsonl": b'{"question": "a?", "span": "The pump"}\n{"query": "b?", "id": 4}\n',
        "corpus.jsonl": "".join(json.dumps(row) + "\n" for row in CORPUS).encode(),
        "queries.jsonl": b'{"_id": "x", "text": "y", "answers": ["z"]}\n',
        "qrels.tsv": b"query-id\tcorpus-id\tscore\nx\tp1\t1\nx\tp2\t0\n",
        "splits.json": b'{"dev": ["x"]}',
    }
    for file, content in whole.items():
        (tmp_path / file).write_bytes(content)
    rng = random.Random(name)
    damaged = 0
    for _ in range(300):
        data = bytearray(whole[name])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 3)] = rng.choice(
                [b"", b'"', b"\n", b"\t", b"\x00", b"\xff", b"{", b"]", b",", b"null", b"9" * 5000]
            )
        (tmp_path / name).write_bytes(data)
        for raw in (
            read_beir(tmp_path),
            read_csv(tmp_path / "q.csv", corpus=tmp_path),
            read_questions(tmp_path / "q.jsonl", corpus=tmp_path),
        ):
            report = check_dataset(raw)
            json.dumps(report.to_dict(), allow_nan=False)
            damaged += not report.ok
    assert damaged > 50, "the damage did not even reach the readers"


def test_csv_cells_of_any_length_and_whole_numbers_as_ids(tmp_path):
    table = tmp_path / "long.csv"
    book = "word " * 60_000
    table.write_text(f"id,question,passage_id,passage\n7,What is it?,42,{book}\n")
    raw = read_csv(table)
    assert raw.errors == []
    assert [(q.id, j.passage) for q, j in zip(raw.queries, raw.judgements, strict=True)] == [
        ("7", "42")
    ]
    assert len(raw.passages[0].text) > 250_000
