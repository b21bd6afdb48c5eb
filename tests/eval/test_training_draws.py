"""What is drawn: corpora by temperature, questions in turn, typos and speech errors."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankgate.errors import ConfigError, InputError
from rankgate_eval.train.course import TrainingSettings, full_settings
from rankgate_eval.train.lists import (
    corpus_shares,
    epoch_plan,
    spoil,
    with_speech_errors,
    with_typos,
)

QUESTIONS = {"small": [f"s{i}" for i in range(10)], "large": [f"l{i}" for i in range(1000)]}


def test_shares_by_temperature():
    sizes = {"small": 10, "large": 1000, "none": 0}
    assert corpus_shares(sizes, temperature=1.0)["large"] == pytest.approx(1000 / 1010)
    assert corpus_shares(sizes, temperature=2.0)["large"] == pytest.approx(10 / 11)
    assert corpus_shares(sizes, temperature=2.0)["none"] == 0.0
    with pytest.raises(InputError, match="1 or more"):
        corpus_shares(sizes, temperature=0.5)
    with pytest.raises(InputError, match="no corpus"):
        corpus_shares({"none": 0}, temperature=1.0)


def plan(epoch, **changed):
    return epoch_plan(
        QUESTIONS, **{"lists": 110, "temperature": 2.0, "seed": 1, "epoch": epoch, **changed}
    )


def test_a_plan_is_as_long_as_asked_and_every_question_has_its_turn():
    first = plan(0)
    assert len(first) == 110
    assert Counter(name for name, _ in first) == {"small": 10, "large": 100}
    assert sorted(q for name, q in first if name == "small") == sorted(QUESTIONS["small"])
    ten = [q for epoch in range(10) for name, q in plan(epoch) if name == "large"]
    assert sorted(ten) == sorted(QUESTIONS["large"]), "ten epochs of 100 read each of 1000 once"


def test_a_plan_depends_on_seed_and_epoch_alone_and_is_shuffled():
    assert plan(3) == plan(3)
    assert plan(3) != plan(3, seed=2) and plan(3) != plan(4)
    assert [name for name, _ in plan(0)] != sorted(name for name, _ in plan(0))


@given(st.text(max_size=80), st.integers(0, 10_000))
def test_spoiling_never_fails_and_never_empties(text, seed):
    rng = np.random.default_rng(seed)
    for way in (with_typos, with_speech_errors):
        spoiled = way(text, rng)
        assert spoiled if text else spoiled == ""


def test_digits_of_any_script_are_spoken():
    """An Indic zero was a digit to the pattern and a stranger to the table."""
    assert (
        with_speech_errors("\U000111d0 \u0665", np.random.default_rng(0), rate=0.0) == "zero five"
    )


QUESTION = "Which patients were treated with 20 mg of prednisone there?"


def test_typos_change_letters_of_a_few_words_and_nothing_else():
    changed = [with_typos(QUESTION, np.random.default_rng(i)) for i in range(200)]
    assert sum(text != QUESTION for text in changed) >= 190, "at least one slip each"
    for text in changed:
        assert len(text.split()) == len(QUESTION.split()), "a slip breaks no word"
        assert "20 mg of" in text, "numbers and short words stay"
        assert abs(len(text) - len(QUESTION)) <= 6
    slips = [sum(a != b for a, b in zip(t.split(), QUESTION.split(), strict=True)) for t in changed]
    assert 1.0 < np.mean(slips) < 2.0


def test_a_neighbouring_key_is_a_neighbour():
    from rankgate_eval.train.lists import _NEAR

    assert set(_NEAR["g"]) == set("fhtyvb")
    assert set(_NEAR["q"]) == set("wa")
    assert all(a in _NEAR[b] for a in _NEAR for b in _NEAR[a]), "nearness goes both ways"


def test_speech_errors_look_like_a_recognisers_output():
    heard = [with_speech_errors(QUESTION, np.random.default_rng(i)) for i in range(200)]
    assert all(text == text.lower() and "?" not in text for text in heard)
    digits = sum("two zero" in text or "to zero" in text for text in heard)
    assert digits >= 190, "digits become words; a short one is dropped now and then"
    assert any("witch" in text.split() for text in heard)
    assert any("their" in text.split() for text in heard)
    still = with_speech_errors(QUESTION, np.random.default_rng(0), rate=0.0)
    assert still == "which patients were treated with two zero mg of prednisone there"


def test_share_of_spoiled_questions():
    rng = np.random.default_rng(0)
    assert sum(spoil(QUESTION, rng, share=0.3) != QUESTION for _ in range(2000)) == pytest.approx(
        600, abs=80
    )
    assert all(spoil(QUESTION, rng, share=0.0) == QUESTION for _ in range(50))


@pytest.mark.parametrize(
    "changed",
    [
        {"lists": 0},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"warmup": 1.0},
        {"clip": 0.0},
        {"mine_again": 0},
        {"patience": 0},
        {"weight_decay": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(changed):
    with pytest.raises(ConfigError):
        TrainingSettings(**changed)


def test_small_data_gets_gentle_settings_and_too_little_is_refused():
    few, more = (full_settings(n, adapting=True) for n in (300, 4000))
    assert (
        few.lists == 300
        and few.epochs == 4
        and few.learning_rate < TrainingSettings().learning_rate
    )
    assert few.evaluate_every * 8 == pytest.approx(few.epochs * few.lists / few.batch, abs=8)
    assert more.batch == 8 and few.batch == 4
    with pytest.raises(InputError, match="too few"):
        full_settings(49, adapting=True)
