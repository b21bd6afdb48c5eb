"""The interval by betting: it covers, at any sample size, whatever the guesses are worth."""

import numpy as np
import pytest

from rankgate.bounds import clopper_pearson
from rankgate.errors import InputError
from rankgate_eval.stats.betting import drawn_mean


def world(rng, size=150, *, right=0.8, bias=0.1):
    """Differences between two bounds, many of them 0, and a model's biased idea of them."""
    reach = rng.choice([0.0, 0.2, 0.6, 1.0], size=size)
    truth = np.where(rng.random(size) < 0.4, reach * rng.uniform(-0.6, 1.0, size), 0.0)
    noise = reach * rng.uniform(-1.0, 1.0, size)
    guess = np.clip(np.where(rng.random(size) < right, truth, noise) + bias * reach, -reach, reach)
    weights = 0.3 + 0.7 * reach / reach.mean()
    order = np.argsort(rng.exponential(size=size) / weights)
    return {
        "weights": weights,
        "least": -reach,
        "most": reach,
        "truth": truth,
        "guesses": guess,
    }, order


def estimate(parts, order, n, *, guessed=True, **changes):
    drawn = {name: values[order] for name, values in parts.items()}
    truth = drawn.pop("truth")
    if not guessed:
        del drawn["guesses"]
    return drawn_mean(truth[:n], **drawn, **changes)


@pytest.mark.parametrize("right", [0.0, 0.95])
def test_the_interval_covers_also_for_whoever_looks_after_every_answer(right):
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(40):
        parts, order = world(rng, right=right)
        mean = parts["truth"].mean()
        found = [estimate(parts, order, n, level=0.8) for n in range(10, 151, 20)]
        missed += any(not e.low - 1e-9 <= mean <= e.high + 1e-9 for e in found)
    assert missed <= 13  # 8 expected at most; 13 or fewer with a chance of 98%


def test_good_guesses_narrow_it_and_bad_ones_hardly_widen_it():
    rng = np.random.default_rng(3)
    widths = {"good": [], "bad": [], "none": []}
    for _ in range(12):
        parts, order = world(rng, 400, right=0.97, bias=0.02)
        for name in widths:
            asked = dict(parts)
            if name == "bad":
                asked["guesses"] = -parts["guesses"]
            found = estimate(asked, order, 200, guessed=name != "none")
            widths[name].append(found.high - found.low)
    good, bad, none = (float(np.mean(widths[name])) for name in widths)
    assert good < 0.9 * none and bad < 1.05 * none


def test_all_known_is_a_point_and_nothing_known_is_what_is_possible():
    parts, order = world(np.random.default_rng(1))
    whole = estimate(parts, order, 150)
    assert whole.low == whole.high == pytest.approx(parts["truth"].mean())
    nothing = estimate(parts, order, 0)
    assert nothing.low == pytest.approx(parts["least"].mean())
    assert nothing.high == pytest.approx(parts["most"].mean())


def test_what_cannot_vary_needs_no_label():
    zeros = np.zeros(50)
    found = drawn_mean([], weights=np.ones(50), least=zeros, most=zeros)
    assert found.low == found.mean == found.high == 0.0


def test_of_yes_and_no_it_is_not_far_from_the_exact_bound():
    """Twenty failures are none: the exact bound of a share is 0.168, of a list of 100000."""
    size = 100_000
    found = drawn_mean(
        np.zeros(20), weights=np.ones(size), least=np.zeros(size), most=np.ones(size), planned=20
    )
    exact = clopper_pearson(0, 20)[1]
    assert exact < found.high < 1.25 * exact


def test_signs_turned_turn_the_interval():
    parts, order = world(np.random.default_rng(8))
    turned = {**parts, "truth": -parts["truth"], "guesses": -parts["guesses"]}
    turned |= {"least": -parts["most"], "most": -parts["least"]}
    there, back = estimate(parts, order, 60), estimate(turned, order, 60)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": [0.0, 1.0]},
        {"weights": [1.0]},
        {"values": [2.0]},
        {"values": [0.0, 0.0, 0.0]},
        {"level": 1.0},
        {"least": [], "most": [], "weights": []},
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    given = {"values": [0.5], "weights": [1.0, 1.0], "least": [0.0, 0.0], "most": [1.0, 1.0]}
    with pytest.raises(InputError):
        drawn_mean(**{**given, **wrong})
