"""Folds: whole document groups, balanced, independent of the order of a file."""

import random

import pytest

from rankgate.errors import InputError
from rankgate_eval.stats.folds import group_folds, spread


def ids(n):
    return [f"q{i}" for i in range(n)]


def test_every_query_is_held_out_once_and_groups_stay_whole():
    queries = ids(103)
    groups = {q: f"g{i // 4}" for i, q in enumerate(queries)}
    folds = group_folds(queries, groups, folds=5, seed=3)
    assert len(folds) == 5
    assert sorted(q for f in folds for q in f.held_out) == sorted(queries)
    for f in folds:
        assert f.unit == "group"
        assert not {groups[q] for q in f.train} & {groups[q] for q in f.held_out}
        assert sorted((*f.train, *f.held_out)) == sorted(queries)
    sizes = [len(f.held_out) for f in folds]
    assert max(sizes) - min(sizes) <= 4


def test_neither_the_order_of_the_queries_nor_the_names_of_the_groups_matter():
    queries = ids(60)
    groups = {q: f"g{i // 3}" for i, q in enumerate(queries)}
    renamed = {q: f"zz{-int(g[1:])}" for q, g in groups.items()}
    shuffled = queries[:]
    random.Random(1).shuffle(shuffled)
    once = group_folds(queries, groups, seed=7)
    assert group_folds(shuffled, renamed, seed=7) == once
    assert group_folds(queries, groups, seed=8) != once


def test_one_group_that_holds_most_queries_is_split_and_said_to_be():
    queries = ids(40)
    groups = {q: "all" if i < 30 else q for i, q in enumerate(queries)}
    folds = group_folds(queries, groups, folds=4)
    assert {f.unit for f in folds} == {"query"}
    assert [len(f.held_out) for f in folds] == [10, 10, 10, 10]
    half = {q: "all" if i < 20 else q for i, q in enumerate(queries)}
    assert {f.unit for f in group_folds(queries, half, folds=2)} == {"group"}


def test_fewer_groups_than_folds():
    queries = ids(9)
    groups = {q: f"g{i % 3}" for i, q in enumerate(queries)}
    assert len(group_folds(queries, groups, folds=5)) == 3


def test_a_query_without_a_group_is_its_own():
    folds = group_folds(["a", "b", "c", "d"], {"a": "b", "c": "b"}, folds=2)
    assert any({"a", "c"} <= set(f.held_out) for f in folds)
    assert sum("b" in f.held_out for f in folds) == 1


@pytest.mark.parametrize(
    ("queries", "folds", "message"),
    [
        (["a", "b"], 1, "at least 2 folds, got 1"),
        (["a"], 2, "at least 2 queries, got 1"),
        (["a", "a"], 2, "named twice"),
    ],
)
def test_what_cannot_be_folded(queries, folds, message):
    with pytest.raises(InputError, match=message):
        group_folds(queries, {}, folds=folds)


def test_spread_takes_the_same_queries_whatever_their_order():
    queries = ids(50)
    some = spread(queries, 10)
    assert len(some) == 10 and some == [q for q in queries if q in some]
    assert set(spread(queries[::-1], 10)) == set(some)
    assert spread(queries, 50) == queries
