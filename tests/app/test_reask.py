"""Which question is an earlier one asked again, and which only looks like it."""

from datetime import UTC, datetime, timedelta

import pytest

from rag_app.ask.conversations import Turn
from rag_app.quality.reask import WITHIN, asked_again, mended_spelling

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def turn(question, minutes=1.0, name="t", **details):
    return Turn(
        id=name,
        question=question,
        answer="Yes. [1]",
        status="answered",
        details=details,
        asked=NOON - timedelta(minutes=minutes),
    )


def again(question, earlier, mended=None, **details):
    return asked_again(question, [turn(earlier, **details)], NOON, mended=mended) is not None


@pytest.mark.parametrize(
    ("question", "earlier"),
    [
        ("How is a gate fitted?", "How is a gate fitted?"),
        ("how is a  GATE fitted", "How is a gate fitted?!"),
        ("Do the museums open on Monday?", "Does a museum open on Mondays?"),
        ("When does the museum open on 3 May?", "On 3 May, when does the museum open?"),
        (
            "Please tell how the museum\u2019s roof is cleaned",
            "Tell how the museum's roof is cleaned",
        ),
    ],
)
def test_the_same_words_are_the_same_question(question, earlier):
    assert again(question, earlier) and again(earlier, question)


@pytest.mark.parametrize(
    ("question", "earlier"),
    [
        ("When does museum 3 open?", "When does museum 4 open?"),
        ("Who runs the port of Hamburg?", "Who runs the port of Bremen?"),
        ("Can I pay with a card?", "Can I pay without a card?"),
        ("What is not allowed in the museum?", "What is allowed in the museum?"),
        ("Why doesn't the gate open?", "Why does the gate open?"),
        ("What happens before the gate closes?", "What happens after the gate closes?"),
        # Close in every embedding, and told apart by one word.
        ("What are the disadvantages of the policy?", "What are the advantages of the policy?"),
        (
            "What is the notice period for landlords?",
            "What is the notice period for tenants?",
        ),
        (
            "Where is smoking forbidden on the premises?",
            "Where is smoking allowed on the premises?",
        ),
        ("Where is smoking on the premises allowed?", "Where is smoking allowed?"),
        # The same words to search for.
        ("Where does the museum open?", "When does the museum open?"),
        ("Must I smoke in the office?", "May I smoke in the office?"),
        ("What is paid to the tenants?", "What is paid by the tenants?"),
        ("Can I convert PDF to Word?", "Can I convert Word to PDF?"),
        ("Does Hamburg supply Bremen?", "Does Bremen supply Hamburg?"),
    ],
)
def test_one_word_more_less_or_elsewhere_makes_another_question(question, earlier):
    assert again(question, question) and again(earlier, earlier), "each stands alone"
    assert not again(question, earlier) and not again(earlier, question)


@pytest.mark.parametrize(
    "question", ["And on Linux?", "Tell me more", "How do I turn it on?", "gate?", "What about it?"]
)
def test_what_leans_on_another_question_may_ask_about_something_else_each_time(question):
    assert not again(question, question)


def test_both_have_to_stand_alone():
    whole, part = "Does the museum open on Mondays?", "museum open on mondays"
    assert again(whole, whole)
    assert not again(part, whole) and not again(whole, part)


def test_a_misspelt_word_makes_no_other_question():
    right, wrong = "How long does a sourdough rest?", "How long does a sourdouhg rest?"
    assert not again(right, wrong), "nobody says that it is a mistake"
    assert again(wrong, right, mended=right)
    searched = [{"text": "bread", "why": "llm"}, {"text": right, "why": "spelling"}]
    assert again(right, wrong, also_searched=searched)
    other = "How long does a sourduogh rest?"
    assert not again(other, wrong, mended=right, also_searched=searched), "two guesses"
    assert not again("How long does a dough rest?", wrong, also_searched=searched)
    assert mended_spelling({"also_searched": searched}) == right
    assert mended_spelling({"also_searched": searched[:1]}) is mended_spelling({}) is None


def test_only_within_minutes_and_the_latest_of_several():
    ask, bread = "How is a gate fitted?", "How long does bread rest?"
    minutes = WITHIN / timedelta(minutes=1)
    old, edge = turn(ask, minutes + 0.01), turn(ask, minutes, "edge")
    assert asked_again(ask, [old], NOON) is None
    assert asked_again(ask, [old, edge], NOON) is edge
    latest = turn(ask, 2, "latest")
    assert asked_again(ask, [edge, latest, turn(bread)], NOON) is latest
    assert asked_again(ask, [turn(ask, -5)], NOON) is None, "a clock that was set back"
    assert asked_again(ask, [], NOON) is None
