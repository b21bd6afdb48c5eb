"""How often the rule for the gain ships what gains too little, and what gains enough.

`python tests/eval/test_verdict_simulation.py` prints the table of eval/LOG.md.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm

from rankgate_eval.result.call import Call
from rankgate_eval.stats.significance import Difference
from rankgate_eval.verdict.verdict import Evidence, Over, judge

SPREAD = 0.21
"""Standard deviation of a question's difference in nDCG@10, as on the golden set."""
Z = float(norm.isf(0.025))


def measured(mean: float, n: int, spread: float = SPREAD) -> Difference:
    error = spread / n**0.5
    return Difference(
        mean=mean,
        low=mean - Z * error,
        high=mean + Z * error,
        least=mean - Z * error,
        p=float(2.0 * norm.sf(abs(mean) / error)),
        standard_error=error,
        n=n,
        clusters=n,
        level=0.95,
    )


def shares(gain: float, n: int, draws: int, seed: int) -> Counter[str]:
    """Calls of `draws` evaluations whose true gain is `gain`; recall is the same, and known."""
    rng = np.random.default_rng([seed, n, round(gain * 1e4)])
    found: Counter[str] = Counter()
    for mean in rng.normal(gain, SPREAD / n**0.5, draws).tolist():
        ndcg = measured(mean, n)
        recall = measured(0.0, n, spread=0.01)
        over = Over(name="the tuned first stage", ndcg=ndcg, recall=recall)
        found[judge(Evidence(over=(over,), top_n=5, skip_rate=0.0)).call] += 1
        # What it was before: any gain above zero by interval and test.
        found["above zero"] += ndcg.better()
        # The stricter rule that was not taken: and the mean itself is useful.
        found["useful mean"] += ndcg.better() and mean >= 0.01
    return Counter({name: count / draws for name, count in found.items()})


@pytest.mark.parametrize("n", [120, 2_000, 100_000])
def test_no_gain_ships_no_oftener_than_alpha_over_two(n):
    assert shares(0.0, n, 1000, seed=0)[Call.SHIP] <= 0.025 + 3.0 * (0.025 * 0.975 / 1000) ** 0.5


def test_a_gain_that_is_too_small_ships_ever_more_seldom_where_data_are_many():
    found = [shares(0.005, n, 1000, seed=0) for n in (10_000, 30_000, 100_000)]
    shipped = [f[Call.SHIP] for f in found]
    assert shipped == sorted(shipped, reverse=True) and shipped[-1] < 0.01
    assert found[-1]["above zero"] > 0.99  # the rule before
    assert found[-1][Call.DONT_SHIP] > 0.99


@pytest.mark.parametrize("n", [2_000, 10_000, 100_000])
def test_a_gain_worth_having_ships_as_often_as_before(n):
    found = shares(0.02, n, 1000, seed=0)
    assert found["above zero"] - found[Call.SHIP] <= 0.005
    assert found[Call.SHIP] > 0.95


if __name__ == "__main__":
    for gain in (0.0, 0.003, 0.005, 0.008, 0.01, 0.015, 0.02, 0.05):
        for n in (120, 500, 2_000, 10_000, 30_000, 100_000):
            found = shares(gain, n, 4000, seed=0)
            row = [found[Call.SHIP], found[Call.DONT_SHIP], found[Call.NOT_ENOUGH_DATA]]
            row += [found["above zero"], found["useful mean"]]
            print(f"| {gain:.3f} | {n} | " + " | ".join(f"{100 * v:.1f}" for v in row) + " |")  # noqa: T201
