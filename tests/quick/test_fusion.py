"""Fusion, candidates and vector spaces against hand-computed values."""

import math

import pytest

from rankgate.errors import ConfigError, InputError, PolicyError
from rankgate.retrieve import (
    Fusion,
    cosine_from_distance,
    cosine_from_exp_distance,
    fuse_candidates,
    reciprocal_rank_fusion,
    weighted_fusion,
)


def test_rrf_by_hand():
    fused = dict(reciprocal_rank_fusion([["a", "b"], ["b", "c"]], k=60))
    assert fused == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61, "c": 1 / 62})
    assert [i for i, _ in reciprocal_rank_fusion([["a", "b"], ["b", "c"]])] == ["b", "a", "c"]


def test_rrf_ties_keep_first_appearance_and_repeats_count_once():
    assert [i for i, _ in reciprocal_rank_fusion([["a"], ["b"]])] == ["a", "b"]
    assert dict(reciprocal_rank_fusion([["a", "a"]]))["a"] == pytest.approx(1 / 61)


def test_weighted_fusion_normalises_each_list():
    got = dict(weighted_fusion([{"a": 0.9, "b": 0.5}, {"b": 30.0, "c": 10.0}], weights=[1, 2]))
    assert got == pytest.approx({"a": 1.0, "b": 2.0, "c": 0.0})
    assert dict(weighted_fusion([{"a": 7.0}], weights=[1])) == {"a": 0.5}


def test_a_weight_of_zero_takes_a_list_out_entirely():
    fused = Fusion(dense_weight=0.0).fuse({"a": 0.9}, {"b": 3.0})
    assert [i for i, _ in fused] == ["b"]


@pytest.mark.parametrize(
    "bad",
    [
        {"rrf_k": 0},
        {"dense_weight": -1.0},
        {"method": "sum"},
        {"dense_weight": 0.0, "bm25_weight": 0.0},
    ],
)
def test_impossible_fusions_are_refused(bad):
    with pytest.raises(PolicyError):
        Fusion(**bad)


def test_every_candidate_gets_both_scores_computed_not_imputed():
    asked = []

    def missing_dense(ids):
        asked.append(("dense", list(ids)))
        return [0.33] * len(ids)

    def missing_bm25(ids):
        asked.append(("bm25", list(ids)))
        return [1.25] * len(ids)

    got = fuse_candidates(
        dense={"a": 0.9, "b": 0.8},
        bm25={"b": 5.0, "c": 4.0},
        fusion=Fusion(),
        k=10,
        missing_dense=missing_dense,
        missing_bm25=missing_bm25,
        fetch=lambda ids: [(f"text {i}", {"source": i}) for i in ids],
    )
    assert [(c.id, c.rank, c.dense, c.bm25) for c in got] == [
        ("b", 1, 0.8, 5.0),
        ("a", 2, 0.9, 1.25),
        ("c", 3, 0.33, 4.0),
    ]
    assert asked == [("dense", ["c"]), ("bm25", ["a"])]
    assert got[1].text == "text a" and got[1].metadata == {"source": "a"}


def test_a_short_answer_of_a_callback_is_an_error_not_a_shift():
    with pytest.raises(InputError, match="1 passages were asked for, 0 came back"):
        fuse_candidates(
            dense={"a": 0.9},
            bm25={"a": 1.0},
            fusion=Fusion(),
            k=1,
            missing_dense=lambda i: [],
            missing_bm25=lambda i: [],
            fetch=lambda i: [],
        )


@pytest.mark.parametrize(("space", "distance"), [("cosine", 0.4), ("ip", 0.4), ("l2", 0.8)])
def test_distances_of_all_spaces_give_the_same_cosine(space, distance):
    assert cosine_from_distance(distance, space) == pytest.approx(0.6)
    assert cosine_from_exp_distance(math.exp(-distance), space) == pytest.approx(0.6)


def test_spaces_that_cannot_be_read_are_refused():
    with pytest.raises(ConfigError, match="unknown vector space 'dot'"):
        cosine_from_distance(0.1, "dot")
    with pytest.raises(InputError, match="not of unit length"):
        cosine_from_distance(57.0, "l2")
    with pytest.raises(InputError):
        cosine_from_distance(float("nan"), "cosine")
    with pytest.raises(InputError):
        cosine_from_exp_distance(0.0, "l2")
