"""Inversions and lifts: from rank to rank, dropped and found passages included."""

from __future__ import annotations

import numpy as np
import pytest

from rankgate.errors import InputError
from rankgate_eval.run.metrics import measure
from rankgate_eval.verdict.inversions import Move, find_movements

QRELS = {"q": {"a": 1, "b": 1, "c": 2, "n": 0}, "r": {"a": 1}, "unjudged": {"a": 0}}


def test_moves_go_from_rank_to_rank():
    before = {"q": ["a", "n", "b", "c"], "r": ["x", "y", "a"]}
    after = {"q": ["n", "c", "x", "a"], "r": ["a", "x", "y"]}
    found = find_movements(QRELS, before, after, ["q", "unjudged", "r"], top_n=2)
    assert found.moves == (
        Move(query_id="q", passage_id="a", before=1, after=4),
        Move(query_id="q", passage_id="b", before=3, after=None),
        Move(query_id="q", passage_id="c", before=4, after=2),
        Move(query_id="r", passage_id="a", before=3, after=1),
    )
    assert [m.passage_id for m in found.inversions] == ["a"]
    assert [(m.query_id, m.passage_id) for m in found.lifts] == [("q", "c"), ("r", "a")]
    assert found.queries == 2
    assert found.queries_inverted == ("q",) and found.queries_lifted == ("q", "r")


def test_a_refused_query_loses_what_was_on_top():
    found = find_movements(QRELS, {"r": ["a"]}, {"r": []}, ["r"], top_n=5)
    assert found.inversions == (Move(query_id="r", passage_id="a", before=1, after=None),)
    back = find_movements(QRELS, {}, {"r": ["a"]}, ["r"], top_n=5)
    assert back.lifts == (Move(query_id="r", passage_id="a", before=None, after=1),)


def test_the_edge_of_the_top_is_inside_and_moves_within_are_none():
    order, turned = ["a", "b", "x"], ["b", "a", "x"]
    same = find_movements(QRELS, {"q": order}, {"q": turned}, ["q"], top_n=2)
    assert len(same.moves) == 2 and not same.inversions and not same.lifts
    narrow = find_movements(QRELS, {"q": order}, {"q": turned}, ["q"], top_n=1)
    assert [m.passage_id for m in narrow.inversions] == ["a"]
    assert [m.passage_id for m in narrow.lifts] == ["b"]


def test_a_passage_that_stands_twice_counts_at_its_best_rank():
    found = find_movements(QRELS, {"r": ["a", "a"]}, {"r": ["x", "x", "a"]}, ["r"], top_n=2)
    assert found.moves == (Move(query_id="r", passage_id="a", before=1, after=2),)


@pytest.mark.parametrize("seed", range(5))
def test_lifts_minus_inversions_are_the_change_in_recall(seed):
    rng = np.random.default_rng(seed)
    pool = [f"d{i}" for i in range(30)]
    qrels = {f"q{i}": {str(p): 1 for p in rng.choice(pool, 4, replace=False)} for i in range(20)}
    before = {q: [str(p) for p in rng.permutation(pool)[:20]] for q in qrels}
    after = {q: [str(p) for p in rng.permutation(before[q])] for q in qrels}
    found = find_movements(qrels, before, after, list(qrels), top_n=5)
    name = "recall@5"
    change = (
        measure(qrels, after, list(qrels)).column(name)
        - measure(qrels, before, list(qrels)).column(name)
    ).sum()
    assert (len(found.lifts) - len(found.inversions)) / 4 == pytest.approx(change)
    turned = find_movements(qrels, after, before, list(qrels), top_n=5)
    assert len(turned.lifts) == len(found.inversions) > 0


def test_top_n_must_be_positive():
    with pytest.raises(InputError, match="top_n must be at least 1"):
        find_movements(QRELS, {}, {}, ["q"], top_n=0)
