"""Team-draft interleaving: orders kept, nobody favoured; the sign test errs as often as it says."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankgate.errors import InputError
from rankgate.live.interleave import interleave, preference

lists = st.lists(st.integers(0, 12), unique=True, max_size=10)


@given(lists, lists, st.integers(0, 8), st.integers(0, 2**32))
def test_each_drafts_its_best_that_is_not_there_and_nothing_is_passed_over(a, b, n, seed):
    mixed = interleave(a, b, random.Random(seed).random, n=n)
    items = [item for item, _ in mixed]
    assert len(set(items)) == len(items) == min(n, len({*a, *b}))
    for i, (item, team) in enumerate(mixed):
        own = a if team == "a" else b
        assert item in own
        assert all(better in items[:i] for better in own[: own.index(item)])
    teams = [team for _, team in mixed]
    for i in range(0, len(teams) - 1, 2):  # a round each, as long as both have something to draft
        left = [set(own) - set(items[:i]) for own in (a, b)]
        if all(len(some) > 1 for some in left):
            assert set(teams[i : i + 2]) == {"a", "b"}


@given(lists, st.integers(0, 8), st.integers(0, 2**32))
def test_equal_lists_stay_as_they_are(a, n, seed):
    assert [i for i, _ in interleave(a, a, random.Random(seed).random, n=n)] == a[:n]


def test_equal_lists_favour_nobody_at_any_rank():
    draw = random.Random(0).random
    drawn = [[t == "a" for _, t in interleave("vwxyz", "vwxyz", draw, n=5)] for _ in range(1000)]
    for share in np.mean(drawn, axis=0):
        assert abs(share - 0.5) < 0.05


def test_one_that_has_nothing_leaves_it_to_the_other():
    assert interleave("", "xy", lambda: 0.0, n=5) == [("x", "b"), ("y", "b")]
    assert interleave("", "", lambda: 0.0, n=5) == []
    assert interleave("xy", "yx", lambda: 0.0, n=2) == [("x", "a"), ("y", "b")]
    assert interleave("xy", "yx", lambda: 0.9, n=2) == [("y", "b"), ("x", "a")]


@pytest.mark.parametrize(("a", "b", "n"), [("xx", "y", 2), ("x", "yy", 2), ("x", "y", -1)])
def test_what_cannot_be_mixed_is_refused(a, b, n):
    with pytest.raises(InputError):
        interleave(a, b, lambda: 0.0, n=n)


def test_a_conversation_counts_once():
    one_voice = preference([("c1", 0.0, 1.0)] * 200 + [("c2", 2.0, 1.0), ("c3", 1.0, 1.0)])
    assert (one_voice.answers, one_voice.a, one_voice.b, one_voice.ties) == (202, 1, 1, 1)
    assert one_voice.p == 1.0 and one_voice.low < 0.01 and one_voice.high > 0.99
    assert one_voice.share == 0.5
    many = preference((f"c{i}", 0.0, 1.0) for i in range(20))
    assert many.p < 0.001 and many.low > 0.6 and many.high == 1.0
    assert preference([]).share is None


def test_who_looks_after_every_conversation_is_told_of_no_preference_that_is_not_there():
    draw = random.Random(3)
    found = 0
    for _ in range(200):
        credits = []
        for i in range(60):
            mixed = dict(interleave("vwxyz", "vwxyz", draw.random, n=5))
            liked = draw.choice("vwxyz")
            credits.append((f"c{i}", float(mixed[liked] == "a"), float(mixed[liked] == "b")))
        found += any(preference(credits[:i]).p <= 0.05 for i in range(1, 61))
    assert found <= 0.05 * 200
