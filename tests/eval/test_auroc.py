"""AUROC against its definition, its interval, and Youden's threshold."""

from __future__ import annotations

import numpy as np
import pytest

from rankgate.errors import InputError
from rankgate_eval.stats.auroc import auroc, auroc_interval, youden


def test_it_is_the_chance_that_what_happened_scores_higher_ties_half():
    rng = np.random.default_rng(3)
    for _ in range(20):
        scores, yes = rng.integers(0, 5, 40), rng.integers(0, 2, 40).astype(bool)
        pairs = [
            1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[yes] for b in scores[~yes]
        ]
        assert auroc(scores, yes) == pytest.approx(np.mean(pairs))
    assert auroc([0, 1], [False, True]) == 1.0
    assert auroc([1, 0], [False, True]) == 0.0


@pytest.mark.parametrize("happened", [[True, True], [False, False]])
def test_one_kind_alone_has_none(happened):
    with pytest.raises(InputError, match="needs both"):
        auroc([1, 2], happened)


def test_the_interval_counts_clusters_not_rows():
    rng = np.random.default_rng(5)
    yes = rng.integers(0, 2, 200).astype(bool)
    scores = rng.normal(size=200) + yes
    apart = auroc_interval(scores, yes, range(200))
    # Every row ten times over says nothing more.
    often = auroc_interval(
        np.repeat(scores, 10), np.repeat(yes, 10), list(np.repeat(np.arange(200), 10))
    )
    assert apart[0] < auroc(scores, yes) < apart[1]
    assert often == pytest.approx(apart, abs=0.02)


def test_youden_is_the_best_sum_and_inclusive():
    scores, yes = [0.1, 0.4, 0.6, 0.9], [False, False, True, True]
    assert youden(scores, yes) == 0.6
    assert youden([0.5, 0.5, 0.9], [True, False, True]) == 0.9
