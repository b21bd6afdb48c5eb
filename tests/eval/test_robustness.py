"""The robustness suites and their runner."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from rankgate.errors import InputError
from rankgate.testing import FakeScorer
from rankgate_eval.run.robustness import (
    Pair,
    bm25_pairs,
    dense_pairs,
    load_suites,
    measure_suites,
    scorer_pairs,
)

SUITES = Path(__file__).resolve().parents[2] / "eval" / "robustness"


def pairs(n=20, suite="s"):
    return [
        Pair(id=f"{suite}{i}", suite=suite, query=f"q{i}", right=f"r{i}", wrong=f"w{i}")
        for i in range(n)
    ]


def test_the_suites_of_the_project():
    found = load_suites(SUITES)
    by_suite = {s: [p for p in found if p.suite == s] for s in {p.suite for p in found}}
    assert set(by_suite) == {
        "negation",
        "time",
        "two_conditions",
        "numbers_units",
        "near_duplicate_versions",
        "typos",
        "very_short",
    }
    assert all(len(listed) == 20 for listed in by_suite.values())
    texts = [t for p in found for t in (p.right, p.wrong)]
    assert len(set(texts)) == len(texts), "no passage stands twice"
    assert max(len(p.query.split()) for p in by_suite["very_short"]) <= 2


def test_wins_ties_and_exact_intervals():
    listed = pairs(4) + pairs(2, "t")
    scores = np.array([[2, 1], [1, 2], [1, 1], [0.0, -1], [5, 1], [5, 1]], dtype=float)
    results = {r.suite: r for r in measure_suites(listed, {"x": lambda _: scores})}
    assert (results["s"].wins, results["s"].ties, results["s"].n) == (2, 1, 4)
    assert results["s"].lost == ("s1", "s2") and results["s"].share == 0.5
    low, high = beta.ppf(0.025, 2, 3), beta.ppf(0.975, 3, 2)
    assert results["s"].ci == pytest.approx((low, high))
    assert results["t"].ci == pytest.approx((0.025**0.5, 1.0))
    assert (results["all"].wins, results["all"].n) == (4, 6)


def test_bm25_scores_over_an_index_of_all_passages():
    listed = [
        Pair(id="a", suite="s", query="red cat", right="a red cat", wrong="a blue cat"),
        Pair(id="b", suite="s", query="dog", right="one dog", wrong="one bird"),
    ]
    scores = bm25_pairs(listed)
    assert scores.shape == (2, 2)
    assert scores[0, 0] > scores[0, 1] > 0.0, "cat is in both"
    assert scores[1, 1] == 0.0


class Axes:
    """A vector for each first letter."""

    name, sha256, dimension = "axes", "", 3

    def embed(self, texts):
        return np.stack([np.eye(3, dtype=np.float32)["qrw".index(t[0])] for t in texts])


def test_dense_and_scorer_rankers_give_the_right_passage_first_in_the_row():
    scores = dense_pairs(Axes())(pairs(3))
    assert scores.shape == (3, 2) and (scores == 0.0).all()

    def judge(query, text):
        return 1.0 if text.startswith("r") else -1.0

    assert (scorer_pairs(FakeScorer(judge))(pairs(3)) == [[1.0, -1.0]] * 3).all()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", r"a\.jsonl:2: not JSON"),
        ("[]", "expected an object"),
        ('{"id": "b", "query": "q", "right": "r"}', "'wrong'"),
        ('{"id": "b", "query": "q", "right": "r", "wrong": "r"}', "the same passage"),
        ('{"id": "a", "query": "q", "right": "r", "wrong": "w"}', "stands twice"),
    ],
)
def test_bad_suites_are_named(tmp_path, line, said):
    first = json.dumps({"id": "a", "query": "q", "right": "r", "wrong": "w"})
    (tmp_path / "a.jsonl").write_text(f"{first}\n{line}\n")
    with pytest.raises(InputError, match=said):
        load_suites(tmp_path)


def test_nothing_to_measure_and_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no \.jsonl suites"):
        load_suites(tmp_path)
    with pytest.raises(InputError, match="no pairs"):
        measure_suites([], {})
    with pytest.raises(InputError, match="two finite scores"):
        measure_suites(pairs(2), {"x": lambda _: np.zeros((3, 2))})
    with pytest.raises(InputError, match="two finite scores"):
        measure_suites(pairs(2), {"x": lambda _: np.full((2, 2), np.nan)})
