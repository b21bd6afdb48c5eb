"""Latency: percentiles only where the samples carry them, and the budget."""

from __future__ import annotations

import numpy as np
import pytest

from rankgate.errors import InputError
from rankgate_eval.result.parts import BudgetStatus
from rankgate_eval.run.latency import check_budget, samples_needed, summarise_latency


@pytest.mark.parametrize(("quantile", "needed"), [(0.5, 5), (0.95, 59), (0.99, 299)])
def test_samples_needed_is_wilks_bound(quantile, needed):
    assert samples_needed(quantile) == needed
    assert 1 - quantile**needed >= 0.95 > 1 - quantile ** (needed - 1)
    with pytest.raises(InputError, match="quantile"):
        samples_needed(1.0)


@pytest.mark.parametrize(
    ("n", "known"), [(4, []), (5, ["p50"]), (59, ["p50", "p95"]), (299, ["p50", "p95", "p99"])]
)
def test_percentiles_are_none_where_samples_are_too_few(n, known):
    result = summarise_latency(np.arange(1.0, n + 1))
    for name in ("p50", "p95", "p99"):
        assert (getattr(result, name) is not None) == (name in known)
    assert result.n == n and result.worst == n and result.mean == pytest.approx((n + 1) / 2)


def test_percentiles_are_values_that_occurred():
    result = summarise_latency([*range(1, 1001)])
    assert (result.p50, result.p95, result.p99) == (500.0, 950.0, 990.0)
    shuffled = summarise_latency(np.random.default_rng(0).permutation(np.arange(1, 1001)))
    assert shuffled == result


def test_the_budget_is_inclusive_and_about_the_quantile():
    samples = [10.0] * 95 + [500.0] * 5
    assert check_budget(samples, 10.0).status is BudgetStatus.INSIDE
    assert check_budget(samples, 9.99).status is BudgetStatus.OVER
    assert check_budget(samples, 10.0, quantile=0.96).status is BudgetStatus.OVER
    assert check_budget(samples, 10.0).observed_ms == 10.0


def test_too_few_samples_leave_it_open_unless_all_are_over():
    few = check_budget([10.0] * 20, 50.0)
    assert few.status is BudgetStatus.UNKNOWN and few.observed_ms is None
    assert (few.n, few.needed) == (20, 59)
    assert check_budget([60.0] * 20, 50.0).status is BudgetStatus.OVER
    assert check_budget([60.0] * 19 + [40.0], 50.0).status is BudgetStatus.UNKNOWN
    assert check_budget([60.0] * 4, 50.0).status is BudgetStatus.UNKNOWN


@pytest.mark.parametrize("samples", [[], [float("nan")], [-1.0], [[1.0]], [float("inf")]])
def test_unusable_samples_are_refused(samples):
    with pytest.raises(InputError):
        summarise_latency(samples)


def test_a_budget_must_be_positive():
    for budget in (0.0, float("nan")):
        with pytest.raises(InputError, match="above 0 ms"):
            check_budget([1.0] * 100, budget)
