"""BEIR folders: what is read, and every unreadable row with its line."""

import gzip
import json

import pytest

from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.readers import read_beir
from rankgate_eval.errors import DatasetError


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "little"
    root.mkdir()
    lines(
        root / "corpus.jsonl",
        [
            {"_id": "p1", "title": "Rain", "text": "It rains."},
            {"_id": "p2", "text": "It snows.", "document": "weather.md"},
            {"_id": 3, "title": None, "text": "Sun."},
        ],
    )
    lines(
        root / "queries.jsonl",
        [
            {"_id": "a", "text": "rain?", "answer": "yes", "type": "yes-no"},
            {"_id": "b", "text": "snow?", "answers": ["a", "b", "a"]},
            {"_id": "c", "text": "nothing?"},
        ],
    )
    (root / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\na\tp1\t1\nb\tp2\t2\nb\t3\t0\n")
    (root / "splits.json").write_text(json.dumps({"dev": ["b", "c"], "test": ["a"]}))
    return root


def test_a_folder_is_read(folder):
    data = Dataset.load(folder)
    assert data.name == "little"
    assert data.corpus == {"p1": "Rain\nIt rains.", "p2": "It snows.", "3": "Sun."}
    assert data.qrels == {"a": {"p1": 1}, "b": {"p2": 2, "3": 0}}
    assert data.splits == {"dev": ("b", "c"), "test": ("a",)}
    assert data.fields["a"]["type"] == "yes-no" and "c" not in data.fields
    assert [data.answers(q) for q in "abc"] == [("yes",), ("a", "b"), ()]
    assert data.documents == {"p2": "weather.md"}
    assert data.judged("dev") == ["b"] and data.kind_of("c") == "unjudged"
    assert data.judged() == ["a", "b"] and data.relevant("b") == ("p2",)


def test_gzip_bom_crlf_and_blank_lines_are_no_trouble(folder):
    plain = (folder / "corpus.jsonl").read_bytes()
    (folder / "corpus.jsonl").unlink()
    with gzip.open(folder / "corpus.jsonl.gz", "wb") as stream:
        stream.write(b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n\r\n"))
    assert Dataset.load(folder).corpus["p1"] == "Rain\nIt rains."


def test_a_line_separator_inside_a_text_is_not_a_new_line(folder):
    row = {"_id": "p9", "text": "one\u2028two\x85three"}
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    assert Dataset.load(folder).corpus["p9"] == row["text"]


def test_qrels_folder_gives_splits(folder):
    (folder / "qrels.tsv").unlink()
    (folder / "splits.json").unlink()
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\tp1\t1\n")
    (folder / "qrels" / "dev.tsv").write_text("c\t3\t1\nb\tp2\t1\nc\tp2\t1\n")
    data = Dataset.load(folder)
    assert data.splits == {"dev": ("c", "b"), "test": ("a",)}
    assert data.qrels["c"] == {"3": 1, "p2": 1}


def test_qrels_file_beside_the_folder_wins_and_says_so(folder):
    (folder / "qrels").mkdir()
    raw = read_beir(folder)
    assert [w.code for w in raw.warnings] == ["two_qrels"]
    assert len(raw.judgements) == 3


def test_other_query_and_qrels_files_and_conversations(folder):
    turns = [
        {"role": "user", "text": "x"},
        {"role": "assistant"},
        {"role": "user", "text": "snow?"},
    ]
    lines(folder / "talks.jsonl", [{"_id": "t", "turns": turns, "split": "dev"}])
    (folder / "talks.tsv").write_text("t\tp2\t1\n")
    data = Dataset.load(folder, queries="talks.jsonl", qrels="talks.tsv")
    assert data.queries == {"t": "snow?"}
    assert data.splits == {"dev": ("t",)}, "the queries' own split goes before splits.json"
    assert data.fields["t"]["turns"] == turns


@pytest.mark.parametrize(
    ("file", "content", "line", "code"),
    [
        ("corpus.jsonl", b'{"_id": "p4", "text": "x"', 4, "unreadable"),
        ("corpus.jsonl", b"[1]", 4, "wrong_type"),
        ("corpus.jsonl", b'{"_id": "p4"}', 4, "missing_field"),
        ("corpus.jsonl", b'{"text": "x"}', 4, "missing_field"),
        ("corpus.jsonl", b'{"_id": true, "text": "x"}', 4, "wrong_type"),
        ("corpus.jsonl", b'{"_id": " ", "text": "x"}', 4, "wrong_type"),
        ("corpus.jsonl", b'{"_id": "p4", "text": 5}', 4, "wrong_type"),
        ("corpus.jsonl", b'{"_id": "p4", "text": "x", "title": []}', 4, "wrong_type"),
        ("corpus.jsonl", b'{"_id": "p4", "text": "x", "document": {}}', 4, "wrong_type"),
        ("corpus.jsonl", b'{"_id": "p4", "text": "x", "n": NaN}', 4, "unreadable"),
        ("corpus.jsonl", b'{"_id": "p4", "text": "\xff"}', 4, "unreadable"),
        ("queries.jsonl", b"[" * 100_000, 4, "unreadable"),
        ("queries.jsonl", b'{"_id": "d", "text": "x", "answer": 4}', 4, "wrong_type"),
        ("queries.jsonl", b'{"_id": "d", "text": "x", "answers": "x"}', 4, "wrong_type"),
        ("qrels.tsv", b"a\tp1", 5, "unreadable"),
        ("qrels.tsv", b"a p1 1", 5, "unreadable"),
        ("qrels.tsv", b"a\tp1\t1.5", 5, "wrong_type"),
    ],
)
def test_an_unreadable_row_is_named_by_file_and_line(folder, file, content, line, code):
    with (folder / file).open("ab") as stream:
        stream.write(content + b"\n")
    with pytest.raises(DatasetError) as caught:
        Dataset.load(folder)
    (finding,) = caught.value.findings
    assert finding.code == code
    assert finding.place.file == str(folder / file) and finding.place.line == line
    assert f"{file}, line {line}" in str(caught.value)


def test_reading_goes_on_after_a_bad_row(folder):
    (folder / "corpus.jsonl").write_text('nonsense\n{"_id": "p1", "text": "x"}\n')
    raw = read_beir(folder)
    assert [p.id for p in raw.passages] == ["p1"] and len(raw.errors) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"dev": "a"}', '{"dev": [1]}'])
def test_bad_splits(folder, content):
    (folder / "splits.json").write_text(content)
    with pytest.raises(DatasetError, match=r"splits\.json"):
        Dataset.load(folder)


def test_missing_files_and_damaged_gzip(folder, tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        Dataset.load(tmp_path / "absent")
    (folder / "qrels.tsv").unlink()
    packed = gzip.compress((folder / "corpus.jsonl").read_bytes())
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DatasetError) as caught:
        Dataset.load(folder)
    text = str(caught.value)
    assert "corpus.jsonl.gz" in text and "qrels.tsv" in text, "both, not the first alone"


def test_the_real_corpora_have_no_errors(shared_data):
    sizes = {"xquad-en": (240, 1190), "mtrag": (1460, 179), "cranfield": (1400, 225)}
    for name, (passages, queries) in sizes.items():
        data = Dataset.load(shared_data / name)
        assert (len(data.corpus), len(data.queries)) == (passages, queries)
    typos = Dataset.load(shared_data / "xquad-en", queries="queries-typos.jsonl")
    assert typos.queries.keys() == Dataset.load(shared_data / "xquad-en").queries.keys()
    talks = Dataset.load(
        shared_data / "mtrag", queries="conversations.jsonl", qrels="conversations-qrels.tsv"
    )
    assert len(talks.queries) == 507 and len(talks.unanswerable()) == 97


@pytest.mark.parametrize("where", ["splits.json", "qrels"])
def test_a_split_named_in_one_row_leaves_the_others_where_they_were(folder, where):
    """One question with `split` of its own emptied every split of the folder."""
    rows = [{"_id": "u", "text": "none?", "split": "dev", "answerability": "unanswerable"}]
    with (folder / "queries.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    if where == "qrels":
        (folder / "splits.json").unlink()
        (folder / "qrels.tsv").unlink()
        (folder / "qrels").mkdir()
        for name, row in (("dev", "b\tp2\t1"), ("test", "a\tp1\t1")):
            (folder / "qrels" / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{row}\n")
    data = Dataset.load(folder)
    assert data.judged("dev") == ["b"] and data.judged("test") == ["a"]
    assert data.unanswerable("dev") == ["u"]
