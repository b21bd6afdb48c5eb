"""Data sets of two catalogues: `ir_datasets:NAME`, and retrieval tasks as the hub has them."""

import gzip
import json
import subprocess
import sys
from typing import NamedTuple

import pytest

from rankgate.errors import InputError, MissingExtraError
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.errors import DatasetError

PASSAGES = [
    {"_id": "p1", "title": "Rain", "text": "It rains."},
    {"_id": "p2", "title": "", "text": "It snows."},
]
QUERIES = [{"_id": "a", "text": "wet?"}, {"_id": "b", "text": "cold?"}]
TEST = [{"query-id": "a", "corpus-id": "p1", "score": 2}]
DEV = [{"query-id": "b", "corpus-id": "p2", "score": 1.0}]
CORPUS = {"p1": "Rain\nIt rains.", "p2": "It snows."}


def lines(file, rows, opened=open):
    file.parent.mkdir(parents=True, exist_ok=True)
    with opened(file, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def parquet(file, rows):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra eval-data)")
    from pyarrow import parquet as written

    file.parent.mkdir(parents=True, exist_ok=True)
    written.write_table(arrow.Table.from_pylist(rows), file)


def json_lines(root):
    lines(root / "corpus.jsonl.gz", PASSAGES, gzip.open)
    lines(root / "queries.jsonl", QUERIES)
    lines(root / "qrels" / "test.jsonl", TEST)
    lines(root / "qrels" / "dev.jsonl", DEV)


def configurations(root):
    """As the hub converts them: a folder a configuration, shards, and `id`."""
    renamed = [{"id" if k == "_id" else k: v for k, v in row.items()} for row in PASSAGES]
    parquet(root / "corpus" / "corpus-00000-of-00002.parquet", renamed[:1])
    parquet(root / "corpus" / "corpus-00001-of-00002.parquet", renamed[1:])
    parquet(root / "queries" / "queries-00000-of-00001.parquet", QUERIES)
    parquet(root / "default" / "test-00000-of-00001.parquet", TEST)
    parquet(root / "default" / "dev-00000-of-00001.parquet", DEV)


def flat(root):
    parquet(root / "corpus.parquet", PASSAGES)
    parquet(root / "queries.parquet", QUERIES)
    parquet(root / "data" / "test.parquet", TEST)
    parquet(root / "data" / "dev.parquet", DEV)


@pytest.mark.parametrize("write", [json_lines, configurations, flat])
def test_a_task_of_the_hub(tmp_path, write):
    write(tmp_path / "task")
    data, report = load_dataset(tmp_path / "task")
    assert data.name == "task" and data.corpus == CORPUS
    assert data.queries == {"a": "wet?", "b": "cold?"}
    assert data.qrels == {"a": {"p1": 2}, "b": {"p2": 1}}
    assert data.splits == {"dev": ("b",), "test": ("a",)} and report.ok


def test_what_is_wrong_has_its_file_and_row(tmp_path):
    json_lines(tmp_path)
    wrong = [{"query-id": "a", "score": 1}, {"query-id": "a", "corpus-id": "p1", "score": 0.5}]
    lines(tmp_path / "qrels" / "test.jsonl", wrong)
    with pytest.raises(DatasetError) as caught:
        load_dataset(tmp_path)
    assert [(e.code, e.place.line) for e in caught.value.findings] == [
        ("missing_field", 1),
        ("wrong_type", 2),
    ]
    with pytest.raises(InputError, match="leave corpus, queries and qrels out"):
        load_dataset(tmp_path, queries="queries-typos.jsonl")
    (tmp_path / "corpus.jsonl.gz").unlink()
    (tmp_path / "corpus.parquet").write_bytes(b"no parquet")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra eval-data)")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        load_dataset(tmp_path)


def test_beir_stays_beir(tmp_path):
    json_lines(tmp_path)
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\na\tp1\t1\n")
    assert load_dataset(tmp_path)[0].qrels == {"a": {"p1": 1}}


class Titled(NamedTuple):
    doc_id: str
    title: str
    text: str

    def default_text(self):
        return f"{self.title} {self.text}".strip()


@pytest.fixture
def catalogue():
    """A data set that is registered in memory, as a package of one's own would do it."""
    ir_datasets = pytest.importorskip(
        "ir_datasets", reason="ir_datasets is not installed (extra eval-data)"
    )
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import (
        BaseDocs,
        BaseQrels,
        BaseQueries,
        GenericQuery,
        TrecQrel,
    )

    class Docs(BaseDocs):
        def docs_iter(self):
            return iter([Titled(p["_id"], p["title"], p["text"]) for p in PASSAGES])

    class Queries(BaseQueries):
        def queries_iter(self):
            return iter([GenericQuery(q["_id"], q["text"]) for q in QUERIES])

    class Qrels(BaseQrels):
        def qrels_iter(self):
            rows = [("a", "p1", 2), ("a", "p2", 0), ("b", "gone", 1)]
            return iter([TrecQrel(*row, "0") for row in rows])

    names = {
        "rankgate-made": Dataset(Docs()),
        "rankgate-made/test": Dataset(Docs(), Queries(), Qrels()),
    }
    for name, made in names.items():
        if name not in ir_datasets.registry:
            ir_datasets.registry.register(name, made)
    return "ir_datasets:rankgate-made"


def test_a_name_of_the_catalogue(catalogue):
    data, report = load_dataset(f"{catalogue}/test")
    assert data.name == "rankgate-made-test" and data.corpus["p1"] == "Rain It rains."
    assert data.qrels == {"a": {"p1": 2, "p2": 0}}
    assert data.kind_of("b") == "unjudged"
    assert report.warning_counts["judged_elsewhere"] == 1
    with pytest.raises(InputError, match="has no queries, no qrels: name one of its parts"):
        load_dataset(catalogue)
    with pytest.raises(InputError, match="no data set 'rankgate-none'"):
        load_dataset("ir_datasets:rankgate-none")
    with pytest.raises(InputError, match="leave corpus, queries and qrels out"):
        load_dataset(f"{catalogue}/test", corpus="c.jsonl")


def test_without_the_package_the_extra_is_named():
    code = (
        "import sys; sys.modules['ir_datasets'] = None\n"
        "from rankgate_eval.data.loading import load_dataset\n"
        "load_dataset('ir_datasets:beir/scifact/test')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "needs the extra 'eval-data'" in done.stderr and MissingExtraError.__name__ in done.stderr
    )
