"""Metrics without a judge."""

from __future__ import annotations

import e2e_planted as planted
import pytest

from rankgate_eval.answers import (
    Comparison,
)
from rankgate_eval.answers.keyless import containment, context_precision, token_f1


def test_containment_wants_the_words_in_a_row():
    assert containment("It was The Panthers' 308 points.", ["308"]) == 1.0
    assert containment("It was 3080 points.", ["308"]) == 0.0
    assert containment("red and blue", ["red blue"]) == 0.0
    assert containment("Röntgen won", ["Wilhelm Rontgen", "rontgen"]) == 1.0
    assert containment("anything", []) is None
    assert containment("anything", ["the"]) is None
    assert containment("", ["x"]) == 0.0


def test_token_f1_is_squads():
    assert token_f1("the cat sat", ["a cat sat down"]) == pytest.approx(0.8)
    assert token_f1("x", ["y"]) == 0.0
    assert token_f1("a b b", ["b b b"]) == pytest.approx(0.8)
    assert token_f1("x", ["y", "x"]) == 1.0


def test_context_precision_is_ragas_average_precision():
    assert context_precision(["a", "b", "c"], {"a", "c"}) == pytest.approx((1 + 2 / 3) / 2)
    assert context_precision(["a", "b"], {"z"}) == 0.0
    assert context_precision(["a"], set()) is None
    assert context_precision([], {"z"}) == 0.0


def test_without_a_judge_the_result_has_its_own_name_and_note():
    questions = planted.questions(3)
    right = planted.hand(questions, planted.right)
    result = planted.keyless(questions, right, right, comparison=Comparison(extractive=True))
    assert result.section["name"] == "end_to_end_keyless"
    assert any("faithful by construction" in note for note in result.section["notes"])
    assert any("No language model" in note for note in result.section["notes"])
    assert "faithfulness" not in result.section["arms"]["policy"]
    assert result.section["arms"]["policy"]["string_similarity"]["mean"] == 1.0
