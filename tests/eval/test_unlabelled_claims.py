"""What may be claimed without labels: numbers of questions, conversations, paths."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rankgate.bounds import clopper_pearson
from rankgate.decide.floor import Floor
from rankgate_eval.calibrate.floor_fit import needed_for
from rankgate_eval.calibrate.unlabelled.claims import Claim, Drawing, bound_of, last_that_holds
from rankgate_eval.calibrate.unlabelled.path import (
    FidelityOptions,
    Forecast,
    Setting,
    lay_path,
    needed,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


def claim(failed, groups, *, allowed=0.05, among=None, chances=None, seed=0):
    failed = np.asarray(failed, dtype=bool)
    return Claim(
        name="of the planted",
        allowed=allowed,
        among=np.ones(failed.size, dtype=bool) if among is None else np.asarray(among),
        failed=failed,
        drawing=Drawing.of(np.asarray(groups), seed=seed, chances=chances),
    )


@pytest.mark.parametrize(("share", "numbers"), [(0.05, (59, 93, 124)), (0.01, (299, 473, 628))])
def test_questions_that_are_needed(share, numbers):
    found = tuple(needed(failures, share=share, confidence=0.95) for failures in range(3))
    assert found == numbers
    assert found[0] == needed_for(share, confidence=0.95)


@pytest.mark.parametrize(("n", "failures", "holds"), [(59, 0, True), (58, 0, False), (93, 1, True)])
def test_a_claim_holds_from_so_many_on(n, failures, holds):
    failed = [True] * failures + [False] * (n - failures)
    assert bound_of(claim(failed, range(n)), confidence=0.95).holds is holds


def test_a_thousand_questions_of_58_conversations_claim_nothing():
    groups = np.arange(1000) % 58
    found = bound_of(claim(np.zeros(1000), groups), confidence=0.95)
    assert (found.n, found.questions, found.holds) == (58, 1000, False)


def test_each_conversation_speaks_once_and_only_of_what_is_asked():
    groups = ["a", "a", "b", "b", "c"]
    drawing = Drawing.of(groups, seed=3)
    everybody = drawing.speakers(np.ones(5, dtype=bool))
    assert sorted(groups[i] for i in everybody) == ["a", "b", "c"]
    some = drawing.speakers(np.array([False, True, True, True, False]))
    assert sorted(groups[i] for i in some) == ["a", "b"]
    assert 1 in some


def test_who_is_not_heard_does_not_count_and_nobody_speaks_for_him():
    chances = np.where(np.arange(200) < 100, 1.0, 0.25)
    found = bound_of(claim(np.zeros(200), range(200), chances=chances), confidence=0.95)
    assert 100 < found.n < 150
    # A conversation is heard as often as the question that is drawn of it, however long it is.
    groups, rarely = np.arange(2000) // 20, np.full(2000, 0.25)
    heard = bound_of(claim(np.zeros(2000), groups, chances=rarely), confidence=0.95).n
    assert 10 < heard < 45, "of 100 conversations a quarter"


def test_testing_ends_where_one_fails_and_is_read_no_further():
    good, bad = claim(np.zeros(100), range(100)), claim(np.ones(100), range(100))
    read = []

    def path():
        for place, claims in enumerate(([good], [good, good], [good, bad], [good])):
            read.append(place)
            yield claims

    held, seen = last_that_holds(path(), confidence=0.95)
    assert held == 1
    assert [len(s) for s in seen] == [1, 2, 2]
    assert read == [0, 1, 2], "a setting behind one that fails was looked at"
    assert last_that_holds([[bad], [good]], confidence=0.95)[0] is None
    assert last_that_holds([], confidence=0.95) == (None, [])


def forecast(rng, conversations=300):
    ease = rng.normal(size=conversations)
    missed = rng.random(conversations) < 1.0 / (1.0 + np.exp(4.0 + 2.5 * ease))
    own = rng.normal(size=conversations) + 2.0
    gone = own - 5.0
    looks = 1.0 / (1.0 + np.exp(-np.concatenate([own, gone])))
    return Forecast(
        kinds=np.array(["asked"] * conversations + ["removed"] * conversations),
        groups=np.tile(np.arange(conversations), 2),
        harm=np.tile(1.0 / (1.0 + np.exp(4.0 + 2.5 * ease)), 2),
        missed=np.concatenate([missed, np.zeros(conversations, dtype=bool)]),
        reranked=looks,
        skipped=looks,
    )


def test_the_path_goes_from_strict_to_lax():
    path = lay_path(forecast(np.random.default_rng(0)), FidelityOptions(), base=Floor())
    assert not path.notes
    assert len(path.settings) >= 4
    thresholds = [s.threshold for s in path.settings if s.threshold is not None]
    assert thresholds == sorted(thresholds)
    assert thresholds
    assert path.settings[0].threshold is None
    split = [s.floor for s in path.settings if s.floor.weak_below is not None]
    assert [f.refuse_below for f in split] == sorted(f.refuse_below for f in split)
    assert [f.weak_below for f in split] == sorted((f.weak_below for f in split), reverse=True)


def test_one_threshold_where_both_claims_hold():
    seen = forecast(np.random.default_rng(1))
    far = Forecast(
        kinds=seen.kinds,
        groups=seen.groups,
        harm=seen.harm,
        missed=seen.missed,
        reranked=np.where(seen.kinds == "asked", 0.9, 0.1) + 0.01 * seen.reranked,
        skipped=np.where(seen.kinds == "asked", 0.9, 0.1) + 0.01 * seen.reranked,
    )
    floor = lay_path(far, FidelityOptions(gate=False), base=Floor()).settings[-1].floor
    assert floor.weak_below is None
    assert 0.2 < floor.refuse_below < 0.9


def test_too_few_conversations_lay_no_path_and_say_why():
    path = lay_path(forecast(np.random.default_rng(2), 58), FidelityOptions(), base=Floor())
    assert path.settings == ()
    assert "59 are needed" in path.notes["floor"]
    assert "skips in at least 74 conversations, of the 58 that" in path.notes["gate"]
    assert path.notes["gate"].endswith("too few conversations")


def test_a_scorer_that_changes_everything_is_not_called_too_few_questions():
    seen = forecast(np.random.default_rng(2), 400)
    path = lay_path(
        replace(seen, missed=np.ones_like(seen.missed)), FidelityOptions(), base=Floor()
    )
    assert "the scorer changes more than that" in path.notes["gate"]


@pytest.mark.parametrize("part", ["gate", "floor", "pair"])
def test_what_is_just_wrong_passes_no_more_often_than_stated(part):
    from unlabelled_guarantees import simulate

    found = simulate(part, 120, seed=7, conversations=300, copied=1.0, edge=True)
    low, _ = clopper_pearson(found["wrong"], found["draws"])
    assert low <= found["stated"], found


@pytest.mark.slow
@pytest.mark.parametrize("part", ["gate", "floor", "pair"])
def test_the_stated_error_is_kept_over_a_thousand_draws(part):
    from unlabelled_guarantees import simulate

    for edge in (False, True):
        found = simulate(part, 1000, seed=1, copied=0.5, edge=edge)
        assert clopper_pearson(found["wrong"], 1000)[0] <= 0.05, found


@pytest.mark.parametrize(
    ("others", "wrong"),
    [("all alike", True), ("heard by chance, signals with noise", False)],
)
def test_a_claim_about_a_log_is_not_made_of_easier_questions(others, wrong):
    from unlabelled_guarantees import simulate

    found = simulate("pair", 150, seed=3, copied=1.0, edge=True, others=others)
    low = clopper_pearson(found["wrong"], 150)[0]
    assert (low > 0.2) if wrong else (low <= 0.05), found


def test_a_setting_without_a_gate_skips_nothing():
    seen = forecast(np.random.default_rng(3))
    found = seen.observe(Setting(threshold=None, floor=Floor(), level=1.0))
    assert not found.skips.any()
    assert not found.refused.any()
    assert (found.changed == seen.missed).all()
