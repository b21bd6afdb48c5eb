"""The check: errors together, warnings counted, groups, near-duplicates."""

import json
import pickle
import random
from collections import Counter

import numpy as np
import pytest

from rankgate.errors import InputError, RankgateError
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.dataset_check import check_dataset
from rankgate_eval.data.groups import document_groups
from rankgate_eval.data.near_duplicates import near_duplicates, removals
from rankgate_eval.data.normalise import normalised, normalised_words
from rankgate_eval.data.raw import JudgementRow, PassageRow, QueryRow, RawDataset, SplitRow
from rankgate_eval.errors import DatasetError
from rankgate_eval.finding import Place


def raw_of(passages, queries, judgements, splits=()):
    """Rows from plain tuples; the place's line is the row's number in its list."""

    def at(file, line):
        return Place(file=file, line=line)

    return RawDataset(
        name="made",
        passages=[
            PassageRow(id=i, text=t, place=at("corpus", n))
            for n, (i, t) in enumerate(passages, start=1)
        ],
        queries=[
            QueryRow(id=i, text=t, place=at("queries", n))
            for n, (i, t) in enumerate(queries, start=1)
        ],
        judgements=[
            JudgementRow(query=q, passage=p, grade=g, place=at("qrels", n))
            for n, (q, p, g) in enumerate(judgements, start=1)
        ],
        splits=[
            SplitRow(split=s, query=q, place=at("splits", n))
            for n, (s, q) in enumerate(splits, start=1)
        ],
    )


GOOD = ([("p1", "rain"), ("p2", "snow")], [("a", "wet?"), ("b", "cold?")], [("a", "p1", 1)])


def codes(findings):
    return Counter(f.code for f in findings)


def test_a_clean_set_has_no_errors():
    report = check_dataset(raw_of(*GOOD))
    assert report.ok and codes(report.warnings) == {"unjudged_queries": 1}
    report.raise_for_errors()
    assert report.counts == {
        "passages": 2,
        "queries": 2,
        "judgements": 1,
        "judged_queries": 1,
        "unanswerable_queries": 0,
        "graded_0_queries": 0,
        "unjudged_queries": 1,
        "groups": 2,
        "largest_group": 1,
    }


@pytest.mark.parametrize(
    ("passages", "queries", "judgements", "code", "line"),
    [
        ([("p1", "again")], [], [], "duplicate_passage_id", 3),
        ([], [("a", "again?")], [], "duplicate_query_id", 3),
        ([], [], [("zz", "p1", 1)], "unknown_query", 2),
        ([], [], [("a", "p1", 0)], "contradicting_judgement", 2),
    ],
)
def test_errors_with_their_line(passages, queries, judgements, code, line):
    p, q, j = GOOD
    report = check_dataset(raw_of(p + passages, q + queries, j + judgements))
    (error,) = report.errors
    assert error.code == code and error.place.line == line
    with pytest.raises(DatasetError, match=f"line {line}"):
        report.raise_for_errors()


@pytest.mark.parametrize("judgements", [[], [("a", "p1", 0)], [("b", "p2", -1)]])
def test_empty_qrels(judgements):
    report = check_dataset(raw_of(GOOD[0], GOOD[1], judgements))
    assert codes(report.errors) == {"empty_qrels": 1}


def test_nothing_readable_is_not_a_flood():
    report = check_dataset(raw_of([], [("a", "x")], [("a", f"p{i}", 1) for i in range(50)]))
    assert codes(report.errors) == {"no_passages": 1}
    assert codes(check_dataset(raw_of([("p", "x")], [], [])).errors) == {"no_queries": 1}


def test_a_judgement_of_a_passage_that_is_gone_is_left_out_and_counted():
    gone = [("a", f"gone{i}", 1) for i in range(7)]
    raw = raw_of(GOOD[0], GOOD[1], GOOD[2] + gone)
    report = check_dataset(raw)
    assert report.ok and report.warning_counts["unknown_passage"] == 7
    built = Dataset.from_raw(raw)
    assert all(p in built.corpus for judged in built.qrels.values() for p in judged)
    alone = check_dataset(raw_of(GOOD[0], GOOD[1], gone))
    assert codes(alone.errors) == {"empty_qrels": 1}


def test_twenty_errors_and_a_count():
    judgements = [(f"none{i}", "p1", 1) for i in range(57)]
    report = check_dataset(raw_of(GOOD[0], GOOD[1], GOOD[2] + judgements))
    with pytest.raises(DatasetError) as caught:
        report.raise_for_errors()
    text = str(caught.value)
    assert "57 errors" in text and "and 37 more" in text and len(text.splitlines()) == 22
    assert isinstance(caught.value, RankgateError) and isinstance(caught.value, InputError)
    assert len(pickle.loads(pickle.dumps(caught.value)).findings) == 57
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["error_count"] == 57 and len(plain["errors"]) == 20 and plain["ok"] is False
    assert plain["errors"][0]["line"] == 2


def test_warnings():
    report = check_dataset(
        raw_of(
            [("p1", "Rain  falls"), ("p2", "rain FALLS"), ("p3", " "), ("p4", "x")],
            [("a", "Wet?"), ("b", "wet? "), ("c", "cold"), ("d", "")],
            [("a", "p1", 1), ("a", "p1", 1), ("b", "p1", 1), ("c", "p4", 1)],
            [("dev", "a"), ("test", "b"), ("test", "ghost"), ("test", "b"), ("dev", "c"),
             ("test", "c"), ("extra", "d")],
        )
    )  # fmt: skip
    assert report.ok
    expected = {
        "duplicate_passage": 1,
        "empty_passage": 1,
        "duplicate_query": 1,
        "empty_query": 1,
        "duplicate_judgement": 1,
        "unjudged_queries": 1,
        "unknown_split_query": 1,
        "repeated_split_query": 1,
        "splits_share_queries": 1,
        "splits_share_passages": 1,
        "splits_share_texts": 1,
        "unjudged_split": 1,
        "large_group": 1,
    }
    assert report.warning_counts == expected
    none = {"unanswerable": 0, "graded_0": 0, "unjudged": 0}
    assert report.splits["test"] == {"queries": 2, "judged": 2, **none}
    assert report.splits["extra"] == {"queries": 1, "judged": 0, **none, "unjudged": 1}
    twice = next(w for w in report.warnings if w.code == "duplicate_passage")
    assert twice.place.line == 2 and "'p1'" in twice.message


def test_many_warnings_of_a_kind_are_cut_but_counted():
    queries = [(f"q{i}", "same") for i in range(40)]
    report = check_dataset(raw_of(GOOD[0], queries, [("q0", "p1", 1)]))
    shown = Counter(w["code"] for w in report.to_dict()["warnings"])
    assert shown["duplicate_query"] == 5
    assert report.to_dict()["warning_counts"]["duplicate_query"] == 39


def test_unknown_split_and_query_are_refused():
    data = Dataset.from_raw(raw_of(*GOOD, [("dev", "a"), ("dev", "ghost")]))
    assert data.splits == {"dev": ("a",)}
    with pytest.raises(InputError, match="it has: dev"):
        data.judged("test")
    with pytest.raises(InputError, match="no query 'zz'"):
        data.group_of("zz")


def test_groups_are_connected_components():
    groups = document_groups(
        ["a", "b", "c", "d", "e", "f"],
        {"a": ["p1"], "b": ["p2"], "c": ["p2", "p1"], "d": ["p3"], "e": ["p4"]},
        {"p3": "doc", "p4": "doc"},
    )
    assert groups == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "d", "f": "f"}


def test_groups_match_a_reference_by_flooding():
    rng = random.Random(3)
    for _ in range(50):
        queries = [f"q{i}" for i in range(12)]
        relevant = {q: rng.sample(range(14), rng.randint(0, 2)) for q in queries}
        groups = document_groups(queries, relevant)
        for start in queries:
            seen, todo = {start}, [start]
            while todo:
                now = todo.pop()
                for other in queries:
                    if other not in seen and set(relevant[now]) & set(relevant[other]):
                        seen.add(other)
                        todo.append(other)
            assert {q for q in queries if groups[q] == groups[start]} == seen
            assert groups[start] == min(seen, key=queries.index)


def test_the_id_prefix_is_not_a_document():
    data = Dataset.from_raw(
        raw_of([("d-0", "x"), ("d-1", "y")], [("a", "?"), ("b", "!")],
               [("a", "d-0", 1), ("b", "d-1", 1)])
    )  # fmt: skip
    assert data.group_of("a") != data.group_of("b")


LONG = "the quick brown fox jumps over one lazy dog near river banks at dawn"


def test_near_duplicates_by_words():
    corpus = {
        "gold": LONG,
        "copy": LONG.upper() + "!",
        "longer": LONG + " while the sun comes up behind some very distant green hills today",
        "half": " ".join(LONG.split()[:9]),
        "tiny": "the dog",
        "other": "nothing of that kind stands here at all my friend",
    }
    found = near_duplicates(corpus, ["gold", "other"])
    assert found == {"gold": {"copy", "longer", "half"}, "other": frozenset()}
    assert near_duplicates(corpus, ["gold"], containment=1.0, jaccard=1.0)["gold"] == {
        "copy", "longer", "half"}  # fmt: skip
    assert near_duplicates({"a": "", "b": "", "c": "x"}, ["a", "c"]) == {"a": set(), "c": set()}


def test_near_duplicates_match_brute_force():
    rng = random.Random(5)
    words = [f"w{i}" for i in range(25)]
    corpus = {f"p{i}": " ".join(rng.sample(words, rng.randint(1, 20))) for i in range(60)}
    found = near_duplicates(corpus, corpus, jaccard=0.5, containment=0.75)
    for a in corpus:
        for b in corpus:
            x, y = set(normalised_words(corpus[a])), set(normalised_words(corpus[b]))
            alike = len(x & y) / len(x | y) >= 0.5
            small = min(len(x), len(y))
            alike |= small >= 8 and len(x & y) / small >= 0.75
            assert (b in found[a]) == (a != b and alike)


def test_near_duplicates_by_vectors_and_wrong_input():
    corpus = {"a": "one", "b": "two", "c": "three"}
    unit = np.array([[1, 0], [0.96, 0.28], [0.95, np.sqrt(1 - 0.95**2)]], dtype=np.float32)
    found = near_duplicates(corpus, ["a"], vectors=(["a", "b", "c"], unit), cosine=0.951)
    assert found == {"a": {"b"}}
    assert near_duplicates(corpus, ["a"]) == {"a": frozenset()}
    with pytest.raises(InputError, match="rows"):
        near_duplicates(corpus, ["a"], vectors=(["a"], unit))
    with pytest.raises(InputError, match="has no vector"):
        near_duplicates(corpus, ["a"], vectors=(["b", "c"], unit[1:]))
    with pytest.raises(InputError, match="'zz' is not in the corpus"):
        near_duplicates(corpus, ["zz"])
    with pytest.raises(InputError, match="jaccard"):
        near_duplicates(corpus, ["a"], jaccard=0.0)


def test_normalised_is_idempotent_and_blind_to_form():
    assert normalised(" \ufb01ne\u00a0STRASSE\n") == "fine strasse" == normalised("fine straße")
    for text in ("", "İ ǆ ﬃ", "a\u2028b"):
        assert normalised(normalised(text)) == normalised(text)


def test_removals_are_gold_and_what_is_alike():
    duplicates = {"p1": frozenset({"p4", "p2"}), "p2": frozenset({"p1"}), "p3": frozenset()}
    found = removals({"a": ("p1", "p2"), "b": ("p3",), "c": ()}, duplicates)
    assert found == {"a": {"p1", "p2", "p4"}, "b": {"p3"}, "c": frozenset()}
    with pytest.raises(InputError, match=r"'p9'.*query 'd'"):
        removals({"d": ("p9",)}, duplicates)


def test_a_missing_file_is_one_error(tmp_path):
    with pytest.raises(DatasetError, match=r"1 error\n") as caught:
        Dataset.load(tmp_path / "absent")
    assert codes(caught.value.findings) == {"missing_file": 1}
