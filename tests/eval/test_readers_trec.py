"""TREC judgements and runs."""

import gzip

import numpy as np
import pytest
import pytrec_eval

from rankgate.errors import InputError
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.data.readers import read_run, read_trec, write_run
from rankgate_eval.errors import DatasetError
from rankgate_eval.run.metrics import measure


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


def test_run_is_ordered_as_trec_eval_orders_it(tmp_path):
    file = run_of(
        tmp_path,
        "1 Q0 z 2 0.5 mine\n1 Q0 a 3 0.5 mine\n1 Q0 top 1 9e0 mine\n1 Q0 last 4 -1 mine\n"
        "2 Q0 b 1 1.00000001 mine\n2 Q0 y 1 1 mine\n",
    )
    run = read_run(file)
    assert run.name == "bm25" and not run.warnings
    assert run.lists == {"1": ("top", "z", "a", "last"), "2": ("y", "b")}


def test_run_ranks_that_disagree_are_told(tmp_path):
    run = read_run(run_of(tmp_path, "1 Q0 a 1 0.1 t\n1 Q0 b 2 0.9 t\n"))
    assert run.lists["1"] == ("b", "a")
    assert [(w.code, w.place.line) for w in run.warnings] == [("ranks_disagree", 1)]


def test_run_ties_under_other_ranks_are_told(tmp_path):
    run = read_run(run_of(tmp_path, "1 Q0 a 1 5 t\n1 Q0 b 2 5 t\n2 Q0 b 1 5 t\n2 Q0 a 2 5 t\n"))
    assert run.lists == {"1": ("b", "a"), "2": ("b", "a")}
    assert [(w.code, w.place.line) for w in run.warnings] == [("ties", 1)]


@pytest.mark.parametrize("seed", range(4))
def test_a_run_has_the_numbers_of_trec_eval(tmp_path, seed):
    """Ties, scores that are equal as 32-bit floats, ranks that contradict, missing queries."""
    rng = np.random.default_rng(seed)
    pool = [f"d{i}" for i in range(30)] + ["é", "Z", "~"]
    qrels = {f"q{i}": {p: int(rng.integers(-1, 3)) for p in pool[::3]} for i in range(25)}
    lines, scored = [], {}
    for query in list(qrels)[2:]:
        for rank, passage in enumerate(rng.permutation(pool)[: int(rng.integers(1, 30))], 1):
            score = float(rng.choice([1.0, 1.00000001, 2.0, -3.5, rng.normal()]))
            lines.append(f"{query} Q0 {passage} {rank} {score!r} t\n")
            scored.setdefault(query, {})[str(passage)] = score
    file = tmp_path / "mine.run.gz"
    file.write_bytes(gzip.compress("".join(lines).encode()))
    run = read_run(file)
    assert run.name == "mine"
    judged = [q for q in qrels if max(qrels[q].values()) > 0]
    found = measure(qrels, run.lists, judged)
    theirs = pytrec_eval.RelevanceEvaluator(
        qrels, {"ndcg_cut_5,10", "recall_5,10,50", "P_5", "map"}
    ).evaluate(scored)
    names = {"ndcg_cut_": "ndcg@", "recall_": "recall@", "P_": "precision@", "map": "map"}
    for row, query in enumerate(judged):
        for name, value in theirs.get(query, {}).items():
            mine = next(name.replace(a, b) for a, b in names.items() if name.startswith(a))
            assert found.column(mine)[row] == pytest.approx(value, abs=1e-9), (query, name)
    assert set(found.missing) == {"q0", "q1"} & set(judged)


def test_what_is_written_is_read_back(tmp_path):
    lists = {"1": ("z", "a", "b"), "2": (), "3": ("b",)}
    write_run(tmp_path / "policy.trec", lists, tag="policy")
    text = (tmp_path / "policy.trec").read_text()
    assert text.splitlines()[0] == "1 Q0 z 1 3 policy" and "\n2 " not in text
    run = read_run(tmp_path / "policy.trec")
    assert run.name == "policy" and not run.warnings
    assert run.lists == {q: ids for q, ids in lists.items() if ids}
    for bad in ({"1": ("a b",)}, {"1 2": ("a",)}, {"1": ("",)}):
        with pytest.raises(InputError, match="white space"):
            write_run(tmp_path / "bad.trec", bad, tag="x")
    assert not (tmp_path / "bad.trec").exists()


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


def test_run_over_passages_that_nobody_reads(tmp_path):
    file = run_of(tmp_path, "1 Q0 a 1 2 t\n1 Q0 ghost 2 1 t\n2 Q0 ghost 1 1 t\n")
    run = read_run(file, passages={"a"}, texts_needed=False)
    assert run.lists["1"] == ("a", "ghost") and run.unknown == 2
    assert [(w.code, w.place.line) for w in run.warnings] == [("unknown_passage", 2)]
    with pytest.raises(DatasetError, match="none of its passages is in the corpus"):
        read_run(file, passages={"x"}, texts_needed=False)
    with pytest.raises(DatasetError, match="none of its queries is in the data set"):
        read_run(file, queries={"x"})


@pytest.mark.parametrize("name", ["absent.run", "empty.run"])
def test_run_without_rows(tmp_path, name):
    (tmp_path / "empty.run").write_text("\n")
    with pytest.raises(DatasetError, match=name):
        read_run(tmp_path / name)
