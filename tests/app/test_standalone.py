"""Which questions stand on their own: those that name what they ask about."""

import pytest

from rag_app.ask.standalone import stands_alone

ALONE = """
What is the capital of Mongolia?
what is the capital of mongolia
And what is the capital of Mongolia?
So, how is a gate fitted?
How do I reset a verification method?
What is IBM Cloud Pak for Data?
What is an identifier?
what is terraform
What\u2019s a safe room?
Who is Kant?
Does the Prince of Wales have his own source of income?
Who won the chess tournament on the moon?
Is there still a caste system in India?
Do I need to hire a lawyer?
Is it true that the war ended in 1918?
Did the war that began in 1914 end in 1918?
Tell me the opening hours of the library
Why is Mars red?
How old was Peyton Manning when he played in the final?
How long does it take to identify a virus?
In the US, who decides on the requirements for teachers?
Who won the most medals this season?
How much can a whale eat in one day?
Which problem has both rising and falling prices?
"""
LEANING = """
And its price?
And how long does it take?
Why?
Why is that?
Why Mars?
Probate?
Regional differences
insulin and Alzheimer's?
What about Linux?
What about the capital of Mongolia?
I meant the capital of Mongolia
Who fits it?
Does Android support it?
And how long does it take to?
How much does it cost to get there?
Which one has the larger harbour?
And what does a lost one cost?
Do both need a key for the door?
How old was he when the museum opened?
Why was this short termed organization created?
Who fits them, and when does the fitting end?
Which ones are free?
How long?
How can I apply?
What happened?
What is the price?
What is there?
Is the former better than the gate?
Does this mean that my computer is safe from attacks?
How does its author fit the gate?
Tell me more
Tell me more about that
ok. thanks
Was kostet es?
Was ist die Hauptstadt der Mongolei?
Und wie lange dauert es?
Wat is het?
Qual \u00e9 a capital do Brasil?

?!
"""


@pytest.mark.parametrize("question", ALONE.strip().splitlines())
def test_these_stand_alone(question):
    assert stands_alone(question)


@pytest.mark.parametrize("question", [*LEANING.strip("\n").splitlines(), ""])
def test_these_lean_on_what_was_said_or_are_not_clearly_english(question):
    assert not stands_alone(question)


def test_it_is_told_by_words_alone_however_they_are_written():
    for question in ALONE.strip().splitlines():
        assert stands_alone(f"  {question}  \n") and stands_alone(question.rstrip("?"))
