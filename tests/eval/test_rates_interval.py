"""The interval of a difference of two rates: that of the difference, whatever else varies."""

import math

import numpy as np
import pytest

from rankgate.errors import InputError
from rankgate_eval.stats.intervals import rates_interval


def test_rates_that_never_vary_have_no_interval_to_speak_of():
    # How many queries of a kind a resample holds varies; the two rates do not.
    clusters = [f"d{i // 3}" for i in range(60)] + [f"foreign {i}" for i in range(40)]
    first = [False] * 60 + [True] * 40
    refused = [0.0] * 60 + [1.0] * 40
    assert rates_interval(refused, first, clusters) == (1.0, 1.0)
    assert rates_interval([1.0] * 100, first, clusters) == (0.0, 0.0)


def test_the_order_of_the_queries_and_the_name_of_the_kinds_do_not_matter():
    rng = np.random.default_rng(0)
    values, first = rng.random(40), rng.random(40) < 0.5
    low, high = rates_interval(values, first.tolist(), seed=3)
    assert low < values[first].mean() - values[~first].mean() < high
    other = rates_interval(values, (~first).tolist(), seed=3)
    assert other == pytest.approx((-high, -low), abs=0.02)
    assert rates_interval(values, first.tolist(), seed=3) == (low, high)


def test_one_document_of_a_kind_says_nothing():
    found = rates_interval([0.0, 1.0, 1.0], [False, True, True], ["a", "b", "b"])
    assert found == (-math.inf, math.inf)
    with pytest.raises(InputError, match="3 queries but 2 say"):
        rates_interval([0.0, 1.0, 1.0], [True, False])


def refusals(rng, documents):
    """Answerable questions and the same without their passage; and some from elsewhere.

    The documents differ in size and in how readily their questions are refused, both kinds
    alike. In the long run .08 of the answerable ones are refused and .6 of the others.
    """
    sizes = np.minimum(12, np.ceil(rng.lognormal(0.8, 0.8, documents))).astype(int)
    of = np.repeat(np.arange(documents), sizes)
    ease = rng.beta(2.0, 2.0, documents)  # .5 on average
    answerable = rng.random(of.size) < 0.16 * ease[of]
    removed = rng.random(of.size) < 0.1 + ease[of]
    foreign = rng.random(documents) < 0.6
    values = np.concatenate([answerable, removed, foreign]).astype(float)
    first = [False] * of.size + [True] * (of.size + documents)
    return values, first, [*of, *of, *range(1000, 1000 + documents)]


@pytest.mark.parametrize("draws", [150, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("documents", [12, 40])
def test_it_covers_the_true_difference(documents, draws):
    rng = np.random.default_rng(documents)
    truth, covered, widths = 0.6 - 0.08, 0, []
    for seed in range(draws):
        low, high = rates_interval(*refusals(rng, documents), resamples=400, seed=seed)
        covered += low <= truth <= high
        widths.append(high - low)
    assert covered / draws >= 0.95 - 3.0 * np.sqrt(0.05 * 0.95 / draws) - 0.01
    assert np.mean(widths) < (0.5 if documents == 12 else 0.22)
