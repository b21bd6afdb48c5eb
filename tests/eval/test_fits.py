"""The list-wise and the logistic fit: their optimum, their weights, and what must not matter."""

import numpy as np
import pytest
from scipy.optimize import minimize

from rankgate.errors import InputError
from rankgate_eval.stats.fits import corpus_shares, fit_listwise, fit_logistic


def lists_of(seed, n=60, size=3):
    rng = np.random.default_rng(seed)
    truth = np.array([2.0, -1.0, 0.5])[:size]
    lists, hits = [], []
    for _ in range(n):
        x = rng.normal(size=(int(rng.integers(2, 15)), size)) * [1.0, 10.0, 0.1][:size]
        p = np.exp(x / [1.0, 10.0, 0.1][:size] @ truth)
        lists.append(x)
        hits.append(np.arange(len(x)) == rng.choice(len(x), p=p / p.sum()))
    return lists, hits


def reference(lists, hits, shares, ridge):
    """The loss from its definition, one list at a time, minimised by another method."""
    scale = np.concatenate(lists).std(0)

    def loss(w):
        total = ridge * w @ w
        for x, hit, share in zip(lists, hits, shares, strict=True):
            s = x / scale @ w
            total -= share * (s[hit].mean() - np.log(np.exp(s).sum()))
        return total

    return minimize(loss, np.zeros(lists[0].shape[1]), method="BFGS", tol=1e-10).x / scale


@pytest.mark.parametrize("ridge", [1e-4, 0.005, 1.0])
def test_the_listwise_fit_is_the_minimum(ridge):
    lists, hits = lists_of(1)
    shares = corpus_shares(["a"] * 20 + ["b"] * 40)
    found = fit_listwise(lists, hits, shares, ridge=ridge)
    np.testing.assert_allclose(found, reference(lists, hits, shares, ridge), rtol=1e-4)


def test_the_listwise_fit_is_finite_where_one_feature_tells_all():
    lists = [np.array([[1.0], [0.0], [0.0]])] * 5
    hits = [np.array([True, False, False])] * 5
    (weight,) = fit_listwise(lists, hits, corpus_shares(["a"] * 5), ridge=0.005)
    assert 0.0 < weight < 100.0


def test_corpora_weigh_the_same_and_order_and_units_do_not_matter():
    lists, hits = lists_of(2)
    once = fit_listwise(lists, hits, corpus_shares(["a"] * 60), ridge=0.005)
    twice = fit_listwise(lists * 2, hits * 2, corpus_shares(["a"] * 60 + ["b"] * 60), ridge=0.005)
    np.testing.assert_allclose(once, twice, rtol=1e-6)
    back = fit_listwise(lists[::-1], hits[::-1], corpus_shares(["a"] * 60), ridge=0.005)
    np.testing.assert_allclose(once, back, rtol=1e-6)
    units = np.array([1000.0, 1.0, 1e-3])
    other = fit_listwise([x * units for x in lists], hits, corpus_shares(["a"] * 60), ridge=0.005)
    np.testing.assert_allclose(other * units, once, rtol=1e-5)
    assert corpus_shares(["a", "b", "b"]).tolist() == [0.5, 0.25, 0.25]


def test_no_feature_and_no_ridge():
    assert fit_listwise([np.empty((3, 0))], [np.ones(3, bool)], np.ones(1), ridge=1.0).size == 0
    with pytest.raises(InputError, match="ridge"):
        fit_listwise([np.ones((3, 1))], [np.ones(3, bool)], np.ones(1), ridge=0.0)


def test_the_logistic_fit_is_the_minimum_and_calibrated():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 2)) * [1.0, 50.0] + [3.0, -200.0]
    y = rng.random(400) < 1.0 / (1.0 + np.exp(-(x[:, 0] - 3.0) - 0.02 * (x[:, 1] + 200.0)))
    shares = rng.random(400)
    intercept, weights = fit_logistic(x, y, shares, ridge=0.01)
    p = 1.0 / (1.0 + np.exp(-(intercept + x @ weights)))
    # With a free intercept the mean prediction is the rate.
    assert shares @ p == pytest.approx(shares @ y, rel=1e-4)
    assert weights == pytest.approx([1.0, 0.02], rel=0.5)
    spread = x.std(0)

    def slope(b):
        q = shares * (1.0 / (1.0 + np.exp(-(b[0] + x @ b[1:]))) - y)
        return np.concatenate([[q.sum()], x.T @ q + 0.02 * b[1:] * spread**2])

    at = np.array([intercept, *weights])
    assert abs(slope(at) / np.array([1.0, *spread])).max() < 1e-2


def test_nothing_to_learn_from_gives_the_rate():
    intercept, weights = fit_logistic(np.empty((10, 0)), [1] * 3 + [0] * 7, np.ones(10), ridge=1.0)
    assert weights.size == 0 and 1.0 / (1.0 + np.exp(-intercept)) == pytest.approx(0.3, abs=1e-3)
