"""Fitting whether the best passages hold the answer: planted readers, and what is promised."""

import numpy as np
import pytest

from rankgate import RelevanceModel, Section
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.signals import compute_signals
from rankgate.errors import ConfigError
from rankgate.scorers import Scores
from rankgate.testing import FakeScorer
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.calibrate import calibrate
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.rows import row_of
from rankgate_eval.calibrate.sufficiency import MOST_READ, fit_sufficiency
from rankgate_eval.calibrate.sufficiency.fit import no_higher, weak_below

OPTIONS = FitOptions(kind=FirstStageKind.ORDER, false_refusals=0.15, confidence=0.9)
SECTION = Section(
    reranked=RelevanceModel(
        model=Logistic(features=(Feature(name="raw", weight=1.0),)), scale="fake"
    ),
)


GUESSES = FakeScorer(lambda _query, text: float(int(text.split()[1]) % 7))


def rows(seed=0, questions=240, helps=0.3):
    """Passages that answer say so to a reader; their score tells next to nothing."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(questions):
        for stratum in ("answerable", "removed"):
            given = [
                Candidate(id=f"{i}-{n}", text=f"text {i} {n} {'no' if n else stratum}", rank=n + 1)
                for n in range(6)
            ]
            raw = rng.normal(size=6) + 2.0 * (np.arange(6) == 0)
            raw[0] += helps * (stratum == "answerable")
            made.append(
                row_of(
                    given,
                    compute_signals("text", given),
                    Scores.full(raw.astype(np.float32), "fake"),
                    gold={f"{i}-0"},
                    query_id=str(i),
                    query="text",
                    stratum=stratum,
                    group=str(i),
                )
            )
    return made


KNOWS = FakeScorer(lambda _query, text: 3.0 if text.endswith("answerable") else -3.0)


def test_a_reader_that_knows_is_kept_and_read_as_seldom_as_promised():
    found = fit_sufficiency(rows(), SECTION, KNOWS, "nli:x", OPTIONS)
    assert found.found is not None, found.reason
    assert found.found.reader == "nli:x"
    before, after = found.numbers["before"], found.numbers["after"]
    assert after["answered"] < before["answered"] - 0.1
    assert after["refused"] <= 0.15
    assert after["read"] <= MOST_READ + 0.12, "on the fresh half the share is not exact"


def test_a_perfect_reader_refuses_nobody_who_is_answered():
    """The allowed share is a bound and no aim: once it stood amid those who are answered."""
    made = fit_sufficiency(rows(), SECTION, KNOWS, "nli:x", OPTIONS)
    values = np.array([0.1, 0.2, 0.8, 0.9])
    assert no_higher(values[2:], values[:2], 0.85) == pytest.approx(0.5)
    assert no_higher(values[2:], values[2:], 0.5) == 0.5
    assert made.numbers["after"]["refused"] < made.numbers["before"]["refused"] + 0.1


def test_weak_evidence_catches_more_of_the_others_and_spares_most():
    answerable, other = np.linspace(0.4, 1.0, 61), np.linspace(0.0, 0.6, 61)
    found = weak_below(answerable, other, 0.1)
    assert 0.1 < found < 0.6 and (answerable < found).mean() <= 0.2
    assert weak_below(answerable, answerable, 0.4) is None
    assert weak_below(np.array([0.5]), np.array([0.5]), 0.6) is None


def test_what_does_not_help_is_not_kept_and_says_why():
    kept = [
        fit_sufficiency(rows(seed, helps=0.0), SECTION, GUESSES, "nli:x", OPTIONS)
        for seed in range(3)
    ]
    assert all(k.found is None and "not kept" in k.reason for k in kept)


@pytest.mark.parametrize("stratum", ["answerable", "removed"])
def test_one_kind_of_question_alone_is_too_little(stratum):
    some = [r for r in rows(questions=20) if r.stratum == stratum]
    assert fit_sufficiency(some, SECTION, KNOWS, "nli:x", OPTIONS).found is None


def test_the_same_rows_give_the_same_numbers():
    one = fit_sufficiency(rows(), SECTION, KNOWS, "nli:x", OPTIONS)
    assert one == fit_sufficiency(rows(), SECTION, KNOWS, "nli:x", OPTIONS)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("reader:nowhere", "no such file"),
        ("llm", "llm:MODEL@URL"),
        ("llm:m", "llm:m@URL"),
        ("bundled", "must be"),
    ],
)
def test_a_setting_without_a_reader_is_told_before_anything_is_read(setting, message):
    with pytest.raises(ConfigError, match=message):
        calibrate(None, stage=None, scorer=None, sufficiency=setting)
