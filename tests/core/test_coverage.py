"""Coverage: how much of a question one passage names, whatever the scorer thinks."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankgate.firststage import compute_signals
from rankgate.firststage.words import content_words, coverage
from rankgate.relevance import relevance_features
from rankgate.testing import candidates_of


def test_the_best_single_text_counts_not_what_all_have_together():
    assert coverage("oven temperature", ["oven temperature", "nothing"]) == 1.0
    split = coverage("oven temperature", ["the oven is hot", "room temperature"])
    assert split == pytest.approx(0.5)


def test_a_word_that_every_text_has_weighs_little():
    texts = ["bread and salt", "bread and oil", "bread alone"]
    common, rare = math.log(1 + 3 / 4), math.log(1 + 3 / 1)
    found = coverage("Mongolian bread", texts)
    assert found == pytest.approx(common / (common + rare))
    assert found < 0.5 < coverage("salt bread", texts)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Which studies failed?", "the study fails"),
        ("resting times", "it rested for some time"),
        ("flu", "two flus"),
        ("E24", "fault E24: open the valve"),
        ("What provides heat?", "heat is provided by"),
        ("fan_out limit", "limit of fan-out"),
    ],
)
def test_forms_of_a_word_are_the_word(question, text):
    assert coverage(question, [text, "unlike"]) == 1.0


@pytest.mark.parametrize(
    ("question", "text"),
    [("flu", "a fluid"), ("art", "to start"), ("car", "careful"), ("state", "statistics")],
)
def test_a_word_inside_or_at_the_head_of_another_is_not_the_word(question, text):
    assert coverage(question, [text]) == 0.0


def test_stop_words_and_question_words_ask_for_nothing():
    assert content_words("What is the temperature of an oven?") == content_words("oven temperature")
    assert coverage("What is it?", ["it is what it is"]) == 1.0, "nothing else was asked for"


def test_nothing_to_compare_is_unknown_and_not_zero():
    assert coverage("oven", []) is None
    assert coverage("?!", ["oven"]) is None
    assert compute_signals("oven", []).coverage is None


@given(st.text(max_size=40), st.lists(st.text(max_size=60), max_size=6))
@example("agreeing", [])
def test_a_text_has_every_word_of_itself(query, texts):
    found = coverage(query, texts)
    assert found is None or 0.0 <= found <= 1.0
    assert coverage(query, [*texts, query]) in (None, pytest.approx(1.0))


def test_the_signal_reaches_the_relevance_model_for_every_candidate():
    candidates = candidates_of(["the oven is hot", "room temperature"], dense=[0.4, 0.3])
    signals = compute_signals("oven temperature", candidates)
    assert signals.coverage == pytest.approx(0.5)
    assert signals.values()["coverage"] == signals.coverage
    columns = relevance_features(candidates, signals)
    assert columns["query_coverage"].tolist() == [signals.coverage] * 2
    assert "query_coverage" not in relevance_features([], compute_signals("oven", []))
