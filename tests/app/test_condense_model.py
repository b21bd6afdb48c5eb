"""With the real model: a refusal is the same after other questions, and follow-ups find theirs."""

import pytest

from rag_app.ask.condense import Exchange
from rag_app.ask.pipeline import Pipeline
from rag_app.ingest.ingestion import ingest
from rag_app.settings import Settings

pytestmark = pytest.mark.model

TEXTS = {
    "gate.md": "# The gate\n\nA gate decides from the first stage alone whether a question is "
    "reranked. It is fitted with the command calibrate on labelled questions.\n",
    "calibration.md": "# Calibration\n\nFitting a gate takes about two minutes for a thousand "
    "labelled questions on two cores.\n",
    "bread.md": "# Sourdough\n\nA sourdough rests for twelve hours in a cool place.\n",
    "harbour.md": "# Harbour\n\nThe harbour master logs every ship that enters the harbour.\n",
    "passports.md": "# Passports\n\nRenewing a passport takes six weeks at the town hall. It costs "
    "70 euros.\n",
    "library.md": "# Library\n\nThe town library lends books for four weeks. A lost book costs 20 "
    "euros.\n",
}
BEFORE = ("What does a gate decide?", "How is a gate fitted?")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    base = tmp_path_factory.mktemp("condense")
    (base / "docs").mkdir()
    for name, text in TEXTS.items():
        (base / "docs" / name).write_text(text, "utf-8")
    settings = Settings(data_dir=base / "data")
    ingest([base / "docs"], settings)
    with Pipeline.open(settings) as opened:
        yield opened


def after(pipeline, *questions):
    """The answers of one conversation."""
    history = []
    for question in questions:
        result = pipeline.answer(question, history=history)
        history.append(Exchange(question=question, answer=result.answer.text))
        yield result


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Mongolia?",
        "what is the capital of mongolia",
        "So what is the capital of Mongolia?",
        "Who won the chess championship in 1972?",
        "How do I descale a coffee machine?",
    ],
)
def test_what_is_refused_alone_is_refused_as_the_third_question(pipeline, question):
    alone = pipeline.answer(question)
    *earlier, third = after(pipeline, *BEFORE, question)
    assert [r.status for r in earlier] == ["answered", "answered"]
    assert (alone.status, third.status) == ("refused", "refused")
    assert [p.relevance_score for p in third.outcome.passages] == [
        p.relevance_score for p in alone.outcome.passages
    ]
    # The question with what was said before, as one text, is answered: that is what misled.
    together = pipeline.search(" ".join([question, *reversed(BEFORE)]))
    assert not together.outcome.refused


def test_a_question_that_leans_on_the_topic_finds_its_passage(pipeline):
    alone = pipeline.answer("And how long does it take?")
    _, long, cost = after(
        pipeline, "How do I renew a passport?", "And how long does it take?", "What does that cost?"
    )
    assert not (alone.answer and alone.answer.text.startswith("Renewing a passport"))
    assert long.outcome.best_probability > 2 * alone.outcome.best_probability
    assert long.answer.text.startswith("Renewing a passport takes six weeks")
    assert cost.answer.text.startswith("It costs 70 euros")
    assert long.answer.sources[0].title == cost.answer.sources[0].title == "Passports"


def test_another_topic_in_between_is_left_behind(pipeline):
    *_, last = after(
        pipeline,
        "How do I renew a passport?",
        "How long does the town library lend books?",
        "And what does a lost one cost?",
    )
    assert last.answer.sources[0].title == "Library"
    assert "passport" not in last.searched.scored
