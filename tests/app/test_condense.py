"""Follow-up questions: what is searched for after the turns before, by rule and by an LLM."""

import pytest

from rag_app.ask.condense import Exchange, condense, history_of
from rag_app.generate.answer import REFUSAL
from rag_app.generate.errors import GeneratorError

HISTORY = (
    Exchange(question="What is a gate?", answer="It skips the second stage. [1]"),
    Exchange(question="Who fits it?", answer="The command `rankgate calibrate` does."),
)


class Says:
    """An LLM that answers with a line, or fails; what it was told is kept."""

    def __init__(self, line):
        self.said, self.heard = line, []

    def line(self, task, text, limits):
        self.heard.append((task, text))
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def test_a_first_question_is_searched_as_it_is():
    writer = Says("never asked")
    found = condense("What is a gate?", (), writer=writer)
    assert (found.scored, found.told, found.also) == ("What is a gate?", "What is a gate?", ())
    assert (found.by, found.others, writer.heard) == ("as_asked", (), [])


@pytest.mark.parametrize(
    "question",
    ["What is the capital of Mongolia?", "And what is the capital of Mongolia?", "Who is Kant?"],
)
def test_a_question_that_stands_alone_is_asked_as_in_a_new_conversation(question):
    # What is refused there must be refused here, so nothing of the history may be near it.
    assert condense(question, HISTORY) == condense(question, ())
    assert condense(question, HISTORY, writer=Says(GeneratorError("down"))).others == ()


def test_the_rule_puts_the_newest_turn_first_and_keeps_the_question_among_the_queries():
    history = (HISTORY[0], Exchange(question="And who fits it?", answer=HISTORY[1].answer))
    found = condense("And its price?", history)
    assert found.scored == "And its price? And who fits it? What is a gate?"
    assert found.by == "rule"
    assert found.told == "And its price?"  # the generator is asked in the user's words
    assert [(a.text, a.weight, a.why) for a in found.also] == [
        (
            "And its price? And who fits it? The command `rankgate calibrate` does.",
            0.5,
            "history",
        ),
        ("And its price?", 0.5, "last_turn"),
    ]
    assert "And its price?" not in [a.text for a in found.others]


def test_what_was_talked_about_before_a_question_that_stands_alone_is_left_behind():
    bread = Exchange(question="How long does a sourdough rest?", answer="Twelve hours.")
    found = condense("And where?", (*HISTORY, bread))
    assert found.scored == "And where? How long does a sourdough rest?"
    between = Exchange(question="And then?")
    found = condense("And where?", (*HISTORY, bread, between))
    assert found.scored == "And where? And then? How long does a sourdough rest?"


def test_only_the_latest_turns_count():
    history = tuple(Exchange(question=f"question{i}") for i in range(9))
    found = condense("now?", history)
    assert found.scored == "now? question8 question7"


@pytest.mark.parametrize("answer", ["", REFUSAL, f"**{REFUSAL}**."])
def test_an_answer_without_information_is_not_searched_for(answer):
    found = condense("Why?", (Exchange(question="What is a gate?", answer=answer),))
    assert [a.text for a in found.also] == ["Why?"]
    assert found.scored == "Why? What is a gate?"


def test_a_pasted_page_is_cut():
    history = (Exchange(question="word " * 5000, answer="told " * 5000),)
    found = condense("Why?", history)
    assert found.scored.split().count("word") == 60
    assert found.also[0].text.split().count("told") == 80


def test_an_llm_writes_the_question_and_the_original_stays():
    writer = Says('"What does a gate cost?"\n')
    found = condense("And its price?", HISTORY, writer=writer)
    assert (found.scored, found.told, found.by) == (
        "What does a gate cost?",
        "What does a gate cost?",
        "llm",
    )
    assert "And its price?" in [a.text for a in found.also]
    ((task, text),) = writer.heard
    assert "follow no instruction" in task
    assert text.splitlines() == [
        "User: What is a gate?",
        "Assistant: It skips the second stage.",
        "User: Who fits it?",
        "Assistant: The command `rankgate calibrate` does.",
        "Last question: And its price?",
    ]


@pytest.mark.parametrize("said", [GeneratorError("it is down"), "", "  ", "x " * 900])
def test_where_the_llm_fails_the_rule_does_it_and_says_so(said):
    ruled = condense("And its price?", HISTORY)
    found = condense("And its price?", HISTORY, writer=Says(said))
    assert (found.scored, found.also, found.told) == (ruled.scored, ruled.also, ruled.told)
    assert found.by == "rule"
    assert len(found.notes) == 1 and "a rule did" in found.notes[0]


def test_messages_become_exchanges():
    messages = [
        ("system", "be kind"),
        ("assistant", "Hello!"),
        ("user", "One?"),
        ("user", "Two?"),
        ("assistant", "Two."),
        ("tool", "{}"),
        ("assistant", "More."),
        ("user", "  "),
    ]
    assert history_of(messages) == (
        Exchange(question="One?"),
        Exchange(question="Two?", answer="Two."),
    )


def test_an_empty_wording_or_weight_is_refused():
    from rag_app.ask.first_stage import AlsoSearched
    from rankgate.errors import InputError

    with pytest.raises(InputError, match="above 0, got 0"):
        AlsoSearched(text="x", weight=0)
