"""Which question is an earlier one asked again, and which only looks like it."""

from datetime import UTC, datetime, timedelta

import pytest

from rag_app.conversations import Turn
from rag_app.reask import CLOSE, WITHIN, asked_again

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def turn(question, minutes=1.0, name="t"):
    return Turn(
        id=name,
        question=question,
        answer="Yes. [1]",
        status="answered",
        details={},
        asked=NOON - timedelta(minutes=minutes),
    )


def again(question, earlier, close=None):
    return asked_again(question, [turn(earlier)], NOON, close=close) is not None


@pytest.mark.parametrize(
    ("question", "earlier"),
    [
        ("How is a gate fitted?", "How is a gate fitted?"),
        ("how is a  GATE fitted", "How is a gate fitted?!"),
        ("Does the museum open on Mondays?", "do museums open on Mondays"),
        ("When does the museum open on 3 May?", "On 3 May, when does the museum open?"),
    ],
)
def test_the_same_words_are_the_same_question(question, earlier):
    assert again(question, earlier)


def alike(one, other):
    return 1.0


@pytest.mark.parametrize(
    ("question", "earlier"),
    [
        ("When does museum 3 open?", "When does museum 4 open?"),
        ("Who runs the port of Hamburg?", "Who runs the port of Bremen?"),
        ("How do I turn it on?", "How do I turn it off?"),
        ("Can I pay with a card?", "Can I pay without a card?"),
        ("What is not allowed?", "What is allowed?"),
        ("Why doesn't it start?", "Why does it start?"),
        ("What happens before the gate?", "What happens after the gate?"),
    ],
)
def test_numbers_names_and_what_turns_a_question_make_another_however_alike(question, earlier):
    assert not again(question, earlier, close=alike)


def test_other_words_count_only_where_they_mean_nearly_the_same():
    pair = ("What is the time limit?", "how long is it allowed to take")
    asked = []

    def close(one, other):
        asked.append((one, other))
        return CLOSE

    assert not again(*pair)
    assert again(*pair, close=close) and asked == [pair]
    assert not again(*pair, close=lambda *_: CLOSE - 0.001)


def test_only_within_minutes_and_the_latest_of_several():
    minutes = WITHIN / timedelta(minutes=1)
    old, edge = turn("gate?", minutes + 0.01), turn("gate?", minutes, "edge")
    assert asked_again("gate?", [old], NOON) is None
    assert asked_again("gate?", [old, edge], NOON) is edge
    latest = turn("gate?", 2, "latest")
    assert asked_again("gate?", [edge, latest, turn("bread?")], NOON) is latest
    assert asked_again("gate?", [turn("gate?", -5)], NOON) is None, "a clock that was set back"
    assert asked_again("gate?", [], NOON) is None
