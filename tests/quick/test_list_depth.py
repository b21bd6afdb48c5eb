"""How deep lists are fused: in pages, so that more candidates never move the first ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankgate import Policy, Section
from rankgate.errors import InputError
from rankgate.retrieve import (
    DEFAULT_K,
    LIST_DEPTH,
    Fusion,
    fuse_candidates,
    fuse_in_pages,
    list_depth,
    top_entries,
)


@pytest.mark.parametrize(
    ("k", "depth"), [(1, 50), (49, 50), (50, 50), (51, 100), (100, 100), (101, 150)]
)
def test_lists_are_read_in_whole_pages(k, depth):
    assert list_depth(k) == depth


@pytest.mark.parametrize("k", [0, -3])
def test_no_candidates_have_no_depth(k):
    with pytest.raises(InputError, match=f"at least 1, got {k}"):
        list_depth(k)


def test_one_number_of_candidates_is_the_usual_one_everywhere():
    assert Section().k == DEFAULT_K == Policy.unfitted().section("hybrid").k
    assert all(s.k == DEFAULT_K for s in Policy.default().sections.values())
    # The default policy's candidates are one page: two lists of 50, fused, and nothing else.
    assert list_depth(DEFAULT_K) == LIST_DEPTH


def test_the_second_page_is_of_deeper_lists_and_leaves_the_first_alone():
    asked = []

    def fused_at(depth):
        asked.append(depth)
        # Deeper lists put another one first, and know 60 that the shallow ones do not.
        shallow = [(f"a{i}", 1.0) for i in range(70)]
        return shallow if depth == 50 else [("deep", 9.0), *((f"b{i}", 2.0) for i in range(60))]

    found = fuse_in_pages(fused_at, 80)
    assert asked == [50, 100]
    assert found[:50] == [(f"a{i}", 1.0) for i in range(50)]
    # Not a50 to a69, which only lists of 50 know.
    assert found[50:] == [("deep", 9.0), *((f"b{i}", 2.0) for i in range(29))]


def test_an_id_of_an_earlier_page_keeps_its_place_and_score():
    pages = {50: [("a", 3.0), ("b", 2.0)], 100: [("b", 8.0), ("c", 7.0), ("a", 6.0)]}
    assert fuse_in_pages(pages.__getitem__, 51) == [("a", 3.0), ("b", 2.0), ("c", 7.0)]


def test_the_head_of_a_list():
    assert list(top_entries({"a": 3.0, "b": 2.0, "c": 1.0}, 2)) == ["a", "b"]
    assert top_entries({"a": 3.0}, 9) == {"a": 3.0}


ids = st.permutations([f"p{i}" for i in range(180)])


@given(
    dense=ids,
    bm25=ids,
    lengths=st.tuples(st.integers(0, 180), st.integers(0, 180)),
    fusion=st.sampled_from(
        [Fusion(), Fusion(rrf_k=1.0, bm25_weight=3.0), Fusion(method="weighted", dense_weight=0.3)]
    ),
    few=st.integers(1, 160),
    more=st.integers(1, 160),
)
def test_fewer_candidates_are_the_head_of_more(dense, bm25, lengths, fusion, few, more):
    near = {i: 1.0 - n / 200 for n, i in enumerate(dense[: lengths[0]])}
    terms = {i: 20.0 - n / 10 for n, i in enumerate(bm25[: lengths[1]])}

    def candidates(k):
        return fuse_candidates(
            dense=near,
            bm25=terms,
            fusion=fusion,
            k=k,
            missing_dense=lambda ids: [0.0] * len(ids),
            missing_bm25=lambda ids: [0.0] * len(ids),
            fetch=lambda ids: [(i, {}) for i in ids],
        )

    few, more = sorted((few, more))
    long = candidates(more)
    assert candidates(few) == long[:few]
    assert len({c.id for c in long}) == len(long) <= more
    plain = fusion.fuse(top_entries(near, LIST_DEPTH), top_entries(terms, LIST_DEPTH))
    first = min(more, LIST_DEPTH)
    assert [(c.id, c.fused) for c in long[: min(first, len(plain))]] == plain[:first]
