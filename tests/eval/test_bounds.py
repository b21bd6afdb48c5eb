"""Exact bounds of a share: against scipy, by their coverage, and for fractions."""

import numpy as np
import pytest
from scipy import stats

from rankgate.bounds import clopper_pearson, share_below
from rankgate.errors import InputError


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 20), (1, 20), (7, 20), (20, 20), (250, 5000)])
def test_they_agree_with_scipy(k, n, level):
    theirs = stats.binomtest(k, n).proportion_ci(level, method="exact")
    assert clopper_pearson(k, n, level=level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    one = stats.binomtest(k, n, alternative="less").proportion_ci(level, method="exact")
    assert share_below(k, n, confidence=level) == pytest.approx(one.high, abs=1e-12)


def test_they_cover_at_least_their_level_exactly():
    """No simulation: the coverage is summed over all outcomes."""
    n, bounds = 30, [clopper_pearson(k, 30) for k in range(31)]
    for p in (0.0, 0.01, 0.1, 0.5, 0.93, 1.0):
        inside = [low <= p <= high for low, high in bounds]
        assert stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum() >= 0.95
        below = [p <= share_below(k, n) for k in range(n + 1)]
        assert stats.binom.pmf(np.arange(n + 1), n, p)[below].sum() >= 0.95


def test_a_fraction_of_a_case_lies_between_its_neighbours():
    assert share_below(1, 20) < share_below(1.5, 20) < share_below(2, 20)
    assert share_below(1, 20) < share_below(0.5, 10) < share_below(0, 5)
    assert share_below(0, 0) == share_below(3, 3) == 1.0
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_what_is_no_share_is_refused():
    with pytest.raises(InputError, match="between 0 and n = 3"):
        clopper_pearson(4, 3)
    with pytest.raises(InputError, match="between 0 and n = 3"):
        share_below(-1, 3)
    with pytest.raises(InputError, match="level"):
        clopper_pearson(1, 3, level=95)
    with pytest.raises(InputError, match="level"):
        share_below(1, 3, confidence=1.0)
