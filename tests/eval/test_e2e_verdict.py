"""From answers to the verdict: planted rerankers that help or harm, and the rule itself."""

from __future__ import annotations

from dataclasses import replace

import e2e_planted as planted
import pytest

from rankgate_eval.answers import (
    Handed,
)
from rankgate_eval.answers.verdict import decide
from rankgate_eval.stats.significance import compare


def test_a_good_reranker_ships():
    # 72 pairs at least: so many exclude a fall of .05 in a metric in which nothing changes.
    result = planted.judged(90, planted.wrong, planted.right)
    assert result.verdict == "ship"
    assert result.exit_code == 0
    gain = result.section["differences"]["policy-first_stage"]["factual_correctness"]
    assert gain["n"] == 90
    assert gain["ci"][0] > 0.5
    # Every third answer has one sentence from nowhere beside the right one.
    assert result.section["arms"]["policy"]["faithfulness"]["mean"] == pytest.approx(
        (60 * 1.0 + 30 * 0.5) / 90
    )


def test_a_harmful_reranker_does_not_ship():
    result = planted.judged(60, planted.right, planted.wrong)
    assert result.verdict == "dont_ship"
    assert result.exit_code == 1
    assert result.section["reasons"][0].startswith("factual_correctness falls")


def test_ten_questions_decide_nothing():
    result = planted.judged(10, planted.wrong, planted.right)
    assert result.verdict == "not_enough_data"
    assert result.exit_code == 3
    assert result.section["queries_needed"] >= 50


def test_the_same_contexts_are_not_worth_a_second_stage():
    questions = planted.questions(60)
    same = planted.hand(questions, planted.right)
    result = planted.keyless(questions, same, same)
    assert result.verdict == "dont_ship"
    assert "not worth" in result.section["reasons"][0]
    assert result.section["contexts"]["policy-first_stage"]["changed"] == 0


def test_the_gate_is_named_where_it_skipped():
    questions = planted.questions(60)
    result = planted.keyless(
        questions,
        planted.hand(questions, planted.wrong),
        planted.hand(questions, planted.right),
        skip_rate=0.4,
    )
    assert result.verdict == "ship_behind_gate"
    assert "40%" in result.section["reasons"][-1]


def test_a_floor_that_refuses_what_can_be_answered_does_not_ship():
    questions = planted.questions(80)
    before = planted.hand(questions, planted.wrong)
    after = planted.hand(questions, planted.right)
    for q in questions[:20]:
        after[q.id] = Handed(ids=(), texts=(), refused=True, reason="below_floor")
    result = planted.keyless(questions, before, after)
    # What it still answers is better, and yet it may not ship.
    assert result.section["differences"]["policy-first_stage"]["containment"]["mean"] > 0.5
    assert result.verdict == "dont_ship"
    assert "Wrong refusals rise" in result.section["reasons"][0]
    assert result.section["refusals"]["policy"]["wrong_refusal"] == 20


def test_questions_of_one_group_are_one_piece_of_evidence():
    questions = [replace(q, group=f"g{i % 3}") for i, q in enumerate(planted.questions(60))]
    result = planted.keyless(
        questions,
        planted.hand(questions, planted.wrong),
        planted.hand(questions, planted.right),
    )
    assert result.verdict == "not_enough_data"
    assert "3 document groups" in result.section["reasons"][0]


def difference(values, **options):
    return compare([0.0] * len(values), values, **options)


def test_gains_are_corrected_for_several_metrics():
    # p = 0.03 alone is a gain; among three metrics it is none.
    alone = replace(difference([0.1] * 60), p=0.03, low=0.01, mean=0.05, high=0.09)
    flat = replace(alone, p=1.0, low=-0.01, mean=0.0, high=0.01)
    assert decide({"a": alone}, None, skip_rate=0.0).call == "ship"
    call = decide({"a": alone, "b": flat, "c": flat}, None, skip_rate=0.0).call
    assert call == "not_enough_data"


def test_one_metric_may_not_pay_for_another():
    gain = replace(difference([0.1] * 60), p=0.0001, low=0.05, least=0.05, mean=0.1, high=0.15)
    loss = replace(gain, p=0.01, low=-0.15, least=-0.15, mean=-0.1, high=-0.05)
    open_ = replace(gain, p=0.4, low=-0.2, least=-0.2, mean=-0.02, high=0.1, standard_error=0.06)
    assert decide({"a": gain, "b": loss}, None, skip_rate=0.0).call == "dont_ship"
    undecided = decide({"a": gain, "b": open_}, None, skip_rate=0.0)
    assert undecided.call == "not_enough_data"
    assert undecided.queries_needed > 60


def test_nothing_judged_decides_nothing():
    assert decide({"a": None}, None, skip_rate=0.0).call == "not_enough_data"


@pytest.mark.parametrize("spread", [0.05, 0.01])
def test_a_gain_that_is_certainly_too_small_is_not_shipped(spread):
    """Not worth it stays not worth it when the interval leaves zero behind."""
    moved = [0.008 + spread * (-1.0) ** i for i in range(100)]
    found = compare([0.5] * 100, [0.5 + m for m in moved], permutations=999, resamples=400)
    assert found.high < 0.02 and (found.low > 0.0) == (spread == 0.01)
    verdict = decide({"faithfulness": found}, None, skip_rate=0.0)
    assert verdict.call == "dont_ship"
    assert verdict.reasons[0].endswith("which is not worth a second stage.")
