"""Reliability: Brier by hand, skill against the base rate, bins of equal mass."""

from __future__ import annotations

import numpy as np
import pytest

from rankgate.bounds import clopper_pearson
from rankgate.errors import InputError
from rankgate.live.reliability import measure_reliability, reliability_at_top


def test_brier_and_skill_by_hand():
    result = measure_reliability([0.9, 0.2, 0.4, 0.0], [True, False, True, False])
    assert result.brier == pytest.approx((0.01 + 0.04 + 0.36 + 0.0) / 4)
    assert result.base_rate == 0.5
    assert result.brier_skill == pytest.approx(1 - result.brier / 0.25)
    assert result.predicted == pytest.approx(0.375)


def test_perfect_useless_and_wrong():
    truth = [True, False, False, False]
    assert measure_reliability([1.0, 0.0, 0.0, 0.0], truth).brier_skill == 1.0
    assert measure_reliability([0.25] * 4, truth).brier_skill == pytest.approx(0.0)
    assert measure_reliability([0.0, 1.0, 1.0, 1.0], truth).brier_skill < -1


def test_skill_against_another_rate_and_against_none():
    truth = [True, False, False, False]
    easier = measure_reliability([0.25] * 4, truth, reference_rate=0.5)
    assert easier.brier_skill == pytest.approx(1 - 0.1875 / 0.25)
    assert measure_reliability([0.9, 0.8], [True, True]).brier_skill is None
    zero = measure_reliability([0.25] * 4, truth, reference_rate=0.0)
    assert zero.brier_skill == pytest.approx(1 - 0.1875 / 0.25)


def test_bins_have_equal_mass_and_hold_everything_once():
    rng = np.random.default_rng(0)
    p = rng.random(1000)
    result = measure_reliability(p, rng.random(1000) < p, bins=10)
    assert [b.n for b in result.bins] == [100] * 10
    assert all(a.high < b.low for a, b in zip(result.bins, result.bins[1:], strict=False))
    for b in result.bins:
        assert b.low <= b.predicted <= b.high
        assert (b.observed_low, b.observed_high) == clopper_pearson(round(b.observed * b.n), b.n)
    weighted = sum(b.observed * b.n for b in result.bins) / 1000
    assert weighted == pytest.approx(result.base_rate)


def test_calibrated_probabilities_lie_on_the_curve_and_others_do_not():
    rng = np.random.default_rng(1)
    p = rng.random(4000)
    honest = measure_reliability(p, rng.random(4000) < p)
    inside = [b.observed_low <= b.predicted <= b.observed_high for b in honest.bins]
    assert sum(inside) >= 8
    boastful = measure_reliability(p, rng.random(4000) < p**3)
    assert sum(b.observed_low <= b.predicted <= b.observed_high for b in boastful.bins) <= 3
    assert honest.brier_skill > boastful.brier_skill


def test_equal_probabilities_are_never_parted():
    p = [0.0] * 90 + [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    result = measure_reliability(p, [False] * 95 + [True] * 5, bins=10)
    assert result.bins[0].n == 90 and result.bins[0].high == 0.0
    assert sum(b.n for b in result.bins) == 100
    one = measure_reliability([0.3] * 7, [True] * 2 + [False] * 5)
    assert len(one.bins) == 1 and one.bins[0].observed == pytest.approx(2 / 7)


def test_at_the_top_only_the_top_is_read():
    probabilities = [[0.9, 0.5, 0.1], [0.4], []]
    relevant = [[True, False, True], [False], []]
    first = reliability_at_top(probabilities, relevant, top=1)
    assert first.n == 2 and first.predicted == pytest.approx(0.65) and first.base_rate == 0.5
    two = reliability_at_top(probabilities, relevant, top=2)
    assert two.n == 3 and two.base_rate == pytest.approx(1 / 3)


def test_easy_negatives_do_not_flatter_the_top():
    """Always 0.02 looks calibrated over fifty candidates, and is no good where it is read."""
    lists = [[0.02] * 50] * 40
    truth = [[True] + [False] * 49] * 40
    everywhere = reliability_at_top(lists, truth, top=50)
    assert everywhere.bins[0].observed == pytest.approx(0.02)
    top = reliability_at_top(lists, truth, top=1, reference_rate=0.5)
    assert top.brier_skill < -2


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        ([], [], "one truth value"),
        ([0.5], [True, False], "one truth value"),
        ([1.2], [True], r"in \[0, 1\]"),
        ([float("nan")], [True], r"in \[0, 1\]"),
        ([0.5], [2], "grade > 0"),
    ],
)
def test_unusable_input_is_refused(p, y, message):
    with pytest.raises(InputError, match=message):
        measure_reliability(p, y)


def test_unusable_settings_are_refused():
    for settings in ({"bins": 0}, {"reference_rate": 1.5}):
        with pytest.raises(InputError, match="must be"):
            measure_reliability([0.5], [True], **settings)
    with pytest.raises(InputError, match="top must be"):
        reliability_at_top([[0.5]], [[True]], top=0)
    with pytest.raises(InputError, match="query 0"):
        reliability_at_top([[0.5]], [[True, False]], top=1)
    with pytest.raises(InputError, match="1 lists of probabilities"):
        reliability_at_top([[0.5]], [], top=1)
