"""Significance: values against scipy and by hand, and what must be refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from rankgate.errors import InputError
from rankgate_eval.stats.intervals import bootstrap_interval
from rankgate_eval.stats.significance import compare, holm, mcnemar_exact, queries_needed


def permutation_p(differences, clusters=None, **drawn):
    """The p of a comparison alone."""
    none = np.zeros(len(differences))
    return compare(none, differences, clusters, resamples=100, **drawn).p


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (3, 9), (6, 6), (40, 22)])
def test_mcnemar_agrees_with_the_exact_binomial(lost, won):
    before = [True] * lost + [False] * won + [True, False] * 10
    after = [False] * lost + [True] * won + [True, False] * 10
    result = mcnemar_exact(before, after)
    assert (result.only_before, result.only_after) == (lost, won)
    expected = stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert result.p == pytest.approx(expected)
    with pytest.raises(InputError, match="before has 1"):
        mcnemar_exact([True], [])


def test_holm_by_hand_and_in_the_order_given():
    adjusted = holm({"c": 0.03, "a": 0.01, "d": 0.9, "b": 0.02})
    assert list(adjusted) == ["c", "a", "d", "b"]
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.9})
    assert holm({"x": 0.4, "y": 0.6}) == {"x": 0.8, "y": 0.8}
    assert holm({"x": 0.8, "y": 0.9}) == {"x": 1.0, "y": 1.0}
    assert holm({}) == {}
    with pytest.raises(InputError, match="'x' must be in"):
        holm({"x": float("nan")})


def test_the_permutation_test_agrees_with_full_enumeration():
    sums = np.array([0.5, -0.1, 0.3, 0.2, 0.4, -0.2, 0.35, 0.15])
    flips = np.array(list(itertools.product([-1, 1], repeat=8))) @ sums
    exact = (np.abs(flips) >= abs(sums.sum()) - 1e-12).mean()
    assert permutation_p(sums, permutations=40_000) == pytest.approx(exact, abs=0.01)


def test_whole_clusters_are_flipped():
    """Twenty queries of two documents are two observations, not twenty."""
    differences = np.full(20, 0.3)
    clusters = ["a"] * 10 + ["b"] * 10
    assert permutation_p(differences) < 0.001
    assert permutation_p(differences, clusters) == pytest.approx(0.5, abs=0.03)


def test_p_is_never_zero_and_one_without_a_difference():
    assert permutation_p(np.full(500, 0.5), permutations=99) == 0.01
    assert permutation_p(np.zeros(30)) == 1.0
    assert permutation_p([0.1 + 0.2, -0.3], permutations=999) == 1.0


@pytest.mark.parametrize("seed", range(10))
def test_ties_on_paper_are_ties_in_floats(seed):
    """Tenths tie where whole numbers do; a lost tie would make p too small."""
    whole = np.random.default_rng(seed).integers(-4, 6, size=15)
    settings = {"permutations": 999, "seed": seed}
    assert permutation_p(whole / 10, **settings) == permutation_p(whole, **settings)


def test_zero_clusters_change_nothing():
    rng = np.random.default_rng(3)
    live = rng.normal(0.1, 0.3, size=25)
    padded = np.concatenate([live, np.zeros(1000)])
    assert permutation_p(padded, seed=5) == permutation_p(live, seed=5)


def test_compare_is_seeded_and_pairs_before_with_after():
    rng = np.random.default_rng(0)
    before = rng.random(120)
    after = before + rng.normal(0.05, 0.1, 120)
    one, two = compare(before, after, seed=4), compare(before, after, seed=4)
    assert one == two
    assert one.mean == pytest.approx((after - before).mean())
    assert one.low < one.mean < one.high
    assert one.standard_error == pytest.approx(stats.sem(after - before))
    assert (one.n, one.clusters, one.level) == (120, 120, 0.95)
    assert one.better() and not one.worse()
    other = compare(after, before, seed=4)
    assert other.worse() and not other.better()
    assert other.mean == pytest.approx(-one.mean)
    assert compare(before, after, seed=5) != one


def test_the_mean_is_over_queries_not_over_clusters():
    clusters = ["big"] * 8 + ["s1", "s2"]
    values = np.array([1.0] * 8 + [0.0, 0.0])
    assert compare(np.zeros(10), values, clusters).mean == pytest.approx(0.8)


def test_clusters_widen_the_interval():
    rng = np.random.default_rng(1)
    shared = np.repeat(rng.normal(0, 0.2, 40), 5)
    groups = np.repeat(np.arange(40), 5).tolist()
    low, high = bootstrap_interval(shared)
    wide_low, wide_high = bootstrap_interval(shared, groups)
    assert (wide_high - wide_low) > 1.8 * (high - low)
    clustered = compare(np.zeros(200), shared, groups)
    assert clustered.standard_error > 1.8 * compare(np.zeros(200), shared).standard_error


def test_labels_may_be_anything_hashable_and_their_names_do_not_matter():
    values = np.random.default_rng(2).normal(size=30)
    numbers = [i // 3 for i in range(30)]
    names = [("doc", i // 3) for i in range(30)]
    assert bootstrap_interval(values, numbers) == bootstrap_interval(values, names)


def test_many_queries_are_worked_through_in_blocks_that_change_nothing():
    """Large enough that the resamples do not fit one block; theory says what must come out."""
    values = np.random.default_rng(2).normal(0.02, 1.0, size=3000)
    mean, error = float(values.mean()), float(stats.sem(values))
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.005)
    assert permutation_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)


def test_one_cluster_knows_nothing():
    one = compare([0.0, 0.0], [0.5, 0.6], ["a", "a"])
    assert (one.low, one.high) == (-math.inf, math.inf)
    assert one.p == 1.0 and one.needed() is None
    assert not one.better() and not one.not_worse_than(0.5)


def test_a_constant_difference_has_no_width():
    assert bootstrap_interval([0.2] * 40) == pytest.approx((0.2, 0.2))
    assert bootstrap_interval([0.0] * 40) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("before", "after", "clusters", "message"),
    [
        ([], [], None, "one number a query"),
        ([0.1], [0.1, 0.2], None, "must be paired"),
        ([0.1, float("nan")], [0.1, 0.2], None, "value 1 is nan"),
        ([0.1, 0.1], [0.1, 0.2], ["a"], "1 cluster labels"),
        ([[0.1]], [[0.1]], None, "shape"),
    ],
)
def test_unusable_numbers_are_refused(before, after, clusters, message):
    with pytest.raises(InputError, match=message):
        compare(before, after, clusters)


def test_unusable_settings_are_refused():
    for settings in ({"level": 1.0}, {"resamples": 10}, {"permutations": 0}):
        with pytest.raises(InputError):
            compare([0.0, 0.1], [0.1, 0.3], **settings)


def test_non_inferiority_is_about_the_lower_bound():
    result = compare(np.zeros(400), np.random.default_rng(0).normal(-0.01, 0.05, 400))
    assert result.worse() and result.not_worse_than(0.03)
    assert not result.not_worse_than(0.005)
    assert not result.worse_than(0.03) and result.worse_than(0.001)
    with pytest.raises(InputError, match="above 0"):
        result.not_worse_than(0.0)


def test_queries_needed_by_the_textbook():
    # (1.959964 + 0.841621)^2 * (0.2 / 0.05)^2 = 125.6 for a standard deviation of 0.2
    assert queries_needed(effect=0.05, standard_error=0.02, n=100) == 126
    assert queries_needed(effect=-0.05, standard_error=0.02, n=100) == 126
    assert queries_needed(effect=0.05, standard_error=0.02, n=100, power=0.9) == 169
    assert queries_needed(effect=0.0, standard_error=0.02, n=100) is None
    assert queries_needed(effect=1e-4, standard_error=0.02, n=100) is None  # 31 million
    assert queries_needed(effect=1e-300, standard_error=1.0, n=100) is None
    with pytest.raises(InputError, match="power"):
        queries_needed(effect=0.1, standard_error=0.1, n=10, power=1.0)
