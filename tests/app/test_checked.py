"""Sentences of an LLM that its sources do not support: marked, dropped, or left alone."""

from __future__ import annotations

import json
import threading

import fake_index
import pytest
from fake_openai import Reply, serving

from rag_app.ask.pipeline import Pipeline
from rag_app.cli.render import print_result
from rag_app.generate.answer import REFUSAL
from rag_app.generate.checked import Checker
from rag_app.generate.citations import cite
from rag_app.generate.context import Context, SourceText
from rag_app.settings import Settings
from rankgate import Deadline
from rankgate.errors import ModelNotFoundError
from rankgate.judge import GroundingJudge
from rankgate.scorers import ScoreContext
from rankgate.testing import FakeScorer
from rankgate.types import Candidate, Passage

pytestmark = pytest.mark.model

TEXTS = (
    "The boiler holds 1.8 litres of water. A red lamp shows that the tank is empty.",
    "It must be descaled every six months, or the warranty ends.",
)
SAID = (
    "The boiler holds 1.8 litres of water [1]. It was designed by Ettore Bianchi in Milan [1]. "
    "It must be descaled every six months [2]."
)
INVENTED = "It was designed by Ettore Bianchi in Milan."


def context_of(texts=TEXTS, **limits):
    passages = [
        Passage(candidate=Candidate(id=f"p{i}", text=t, rank=i), index=i - 1, rank=i)
        for i, t in enumerate(texts, start=1)
    ]
    sources = tuple(SourceText(number=p.rank, passage=p) for p in passages)
    return Context(sources=sources, limits=ScoreContext(**limits))


def answer_of(text, context):
    from rag_app.generate.answer import Answer

    cited = cite(text, context.sources)
    return Answer(text=cited.text, sources=cited.sources, mode="openai")


@pytest.fixture(scope="module")
def judge(encoder):
    return GroundingJudge(encoder)


def checked(judge, text=SAID, *, drop=False, context=None):
    given = context_of() if context is None else context
    return Checker(lambda: judge, drop=drop)(answer_of(text, given), given)


def test_what_no_source_says_is_marked_at_its_place(judge):
    found = checked(judge)
    assert [u.text for u in found.unsupported] == [INVENTED]
    marked = found.unsupported[0]
    assert found.text[marked.start : marked.end] == f"{INVENTED[:-1]} [1]."
    assert found.text == SAID
    assert 0.0 <= marked.probability < judge.mark_below
    assert found.notes == ()


def test_dropped_the_rest_is_cited_anew(judge):
    found = checked(judge, SAID.replace("[1]. It must", "[2]. It must"), drop=True)
    assert "Bianchi" not in found.text
    assert found.text.endswith("every six months [2].")
    assert [s.number for s in found.sources] == [1, 2]
    assert found.unsupported == ()
    assert found.notes == ("sentences_dropped: 1 not found in the sources",)


def test_a_source_that_only_a_dropped_sentence_cited_goes_and_numbers_close_up(judge):
    said = f"{INVENTED[:-1]} [2]. The boiler holds 1.8 litres of water [1]."
    found = checked(judge, said, drop=True)
    assert found.text == "The boiler holds 1.8 litres of water [1]."
    assert [(s.number, s.chunk_id) for s in found.sources] == [(1, "p1")]


def test_dropped_items_leave_no_bullets(judge):
    said = f"1. The boiler holds 1.8 litres of water [1].\n2. {INVENTED[:-1]} [1].\n"
    assert checked(judge, said, drop=True).text == "1. The boiler holds 1.8 litres of water [1]."


def test_an_answer_of_nothing_else_becomes_the_refusal(judge):
    found = checked(judge, INVENTED, drop=True)
    assert (found.text, found.refused, found.sources) == (REFUSAL, True, ())
    assert found.notes == ("sentences_dropped: 1 not found in the sources",)


@pytest.mark.parametrize("text", [REFUSAL, "Do you mean the lamp?", "```\nx = 1\n```", "# Title"])
def test_what_claims_nothing_is_left_alone(judge, text):
    found = checked(judge, text)
    assert (found.unsupported, found.notes) == ((), ())


def test_when_the_time_is_over_the_answer_stays_with_a_note(judge):
    found = checked(judge, context=context_of(deadline=Deadline.after(0.0)))
    assert (found.text, found.unsupported) == (SAID, ())
    assert found.notes == ("sentences_not_checked: 3 of 3, the time was over",)


def test_without_weights_the_answer_stays_with_a_note():
    def absent():
        raise ModelNotFoundError("all-MiniLM-L6-v2 was not found")

    context = context_of()
    found = Checker(absent, drop=True)(answer_of(SAID, context), context)
    assert found.text == SAID
    assert found.notes == ("sentences_not_checked: all-MiniLM-L6-v2 was not found",)


def ask(said, how, *, pieces=False):
    with serving() as server:
        server.will(Reply(text=said))
        settings = Settings(
            generator="openai",
            openai_model="m",
            openai_base_url=server.url,
            rewrite="off",
            unsupported=how,
        )
        pipeline = Pipeline(settings, fake_index.FakeIndex(), scorer=FakeScorer())
        return list(pipeline.stream("When does the gate skip reranking?", pieces=pieces))


GATE = "The gate skips reranking when the first stage is right [1]. Napoleon lost at Waterloo [1]."


@pytest.mark.parametrize("pieces", [False, True])
def test_the_pipeline_marks_drops_or_leaves_alone(pieces, capsys):
    *_, result = ask(GATE, "mark", pieces=pieces)
    assert [u["text"] for u in result.unsupported] == ["Napoleon lost at Waterloo."]
    assert result.to_dict()["unsupported"] == result.unsupported
    assert any("Not found in the sources" in line for line in result.lines())
    assert "check" in result.timings_ms
    json.dumps(result.to_dict())
    print_result(result.told())
    assert "Not found in the sources: Napoleon lost at Waterloo." in capsys.readouterr().out
    *said, result = ask(GATE, "drop", pieces=pieces)
    assert "Napoleon" not in result.answer.text
    assert said == ([result.answer.text] if pieces else [])
    *_, result = ask(GATE, "off", pieces=pieces)
    assert "Napoleon" in result.answer.text
    assert result.unsupported == []
    assert "check" not in result.timings_ms


def test_a_cancelled_request_is_not_checked_to_the_end(judge):
    gone = threading.Event()
    gone.set()
    found = checked(judge, context=context_of(cancelled=gone))
    assert found.unsupported == ()
