"""The judge: Ragas' exact scores on planted truths, and what it does with unusable replies."""

from __future__ import annotations

import asyncio
import json

import e2e_judging as kit
import instructor
import pytest
from e2e_server import Fault, ScriptedServer, serving

from rankgate.errors import ConfigError, InputError
from rankgate_eval.answers import AskedQuestion
from rankgate_eval.answers.judge import refuse_own_scorer
from rankgate_eval.errors import EndpointError
from rankgate_eval.paid.calls import Calls

planted, home = kit.planted, kit.home
scored, plain, asks = kit.scored, kit.plain, kit.asks
QUESTION, TEXTS, ANSWER = kit.QUESTION, kit.TEXTS, kit.ANSWER
ONE_VERDICT = kit.ONE_VERDICT

# Ragas' own client writes an id into the user's home, and leaves the file open.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*uuid.json.*:pytest.PytestUnraisableExceptionWarning"
)


def test_planted_statements_give_ragas_exact_scores():
    with serving() as server:
        ours = scored(server)
        given = {"user_input": QUESTION.text, "response": ANSWER}
        assert ours["faithfulness"].values == (0.75,)
        assert plain(server, "Faithfulness", retrieved_contexts=TEXTS, **given) == 0.75
        # Both passages hold the reference.
        assert ours["context_precision"].value == pytest.approx(1.0, abs=1e-8)
        assert ours["context_recall"].value == 1.0
        # 1 of 4 claims stands in the reference, the reference's one claim stands in the answer.
        assert ours["factual_correctness"].value == 0.4
        assert plain(
            server, "FactualCorrectness", response=ANSWER, reference=QUESTION.references[0]
        ) == pytest.approx(0.4)
        assert ours["answer_relevancy"].value == pytest.approx(
            plain(server, "AnswerRelevancy", **given), abs=1e-6
        )


@pytest.mark.parametrize("unsupported", [0, 1, 2, 5])
def test_faithfulness_counts_planted_unsupported_statements(unsupported):
    answer = " ".join(
        ["The mine holds zinc.", "The shaft is deep."]
        + [f"Nobody said number{i}." for i in range(unsupported)]
    )
    with serving() as server:
        found = scored(server, answer=answer)["faithfulness"].value
    assert found == pytest.approx(2 / (2 + unsupported), abs=1e-9)


def test_context_precision_knows_the_rank():
    texts = ["Nothing is here.", TEXTS[0]]
    with serving() as server:
        ours = scored(server, texts=texts)["context_precision"].value
        theirs = plain(
            server,
            "ContextPrecision",
            user_input=QUESTION.text,
            reference=QUESTION.references[0],
            retrieved_contexts=texts,
        )
    assert ours == pytest.approx(0.5, abs=1e-8)
    assert ours == pytest.approx(theirs, abs=1e-8)


@pytest.mark.parametrize("mode", ["json", "schema", "tools", "plain"])
def test_every_way_of_asking_gives_the_same_scores(mode):
    with serving() as server:
        values = {m: s.value for m, s in scored(server, mode=mode).items()}
        body = server.requests[0]
    assert values["faithfulness"] == 0.75
    assert values["factual_correctness"] == 0.4
    assert ("tools" in body) == (mode == "tools")
    kinds = {"json": "json_object", "schema": "json_schema"}
    assert body.get("response_format", {}).get("type") == kinds.get(mode)
    if mode == "schema":
        described = body["response_format"]["json_schema"]["schema"]
        assert described["additionalProperties"] is False


@pytest.mark.parametrize(
    "mode", [instructor.Mode.JSON, instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA]
)
def test_the_scripted_judge_speaks_what_instructor_speaks(mode):
    with serving() as server:
        value = plain(
            server,
            "Faithfulness",
            mode,
            user_input=QUESTION.text,
            response=ANSWER,
            retrieved_contexts=TEXTS,
        )
    assert value == 0.75


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(refusal="I will not."), "refused"),
        (Fault(finish="length"), "truncated"),
        (Fault(finish="content_filter"), "refused"),
        (Fault(text="no json at all"), "invalid"),
        (Fault(text='{"statements": 3}'), "invalid"),
        (Fault(garbage="<html>busy</html>"), "invalid"),
        (Fault(garbage='{"choices": []}'), "invalid"),
    ],
)
def test_unusable_replies_are_missing_with_their_reason(fault, reason):
    with serving(ScriptedServer(fault=lambda body, count: fault)) as server:
        found = scored(server, metrics=("faithfulness",))["faithfulness"]
        # A refusal and a cut-off answer are final, all else is asked three times.
        assert len(server.requests) == (1 if reason in ("refused", "truncated") else 3)
    assert found.value is None
    assert found.missing == reason


def test_fenced_and_wordy_json_is_read():
    def fault(body, count):
        if asks(body, "StatementGeneratorOutput"):
            return Fault(text='Sure!\n```json\n{"statements": ["The mine holds zinc."]}\n```')
        if asks(body, "NLIStatementOutput"):
            return Fault(text="Here: " + json.dumps(ONE_VERDICT) + " Good luck.")
        return None

    with serving(ScriptedServer(fault=fault)) as server:
        assert scored(server, metrics=("faithfulness",))["faithfulness"].value == 1.0


@pytest.mark.parametrize("mode", ["json", "plain"])
def test_a_draft_in_a_thought_is_no_verdict_and_back_ticks_are_no_fence(mode):
    """Drafts were taken for verdicts, 0.0 for 1.0; valid JSON with back-ticks was missing."""
    verdict = {**ONE_VERDICT["statements"][0], "reason": "it says `zinc`: ```mine``` [1] {x}"}
    draft = {**verdict, "verdict": 0}

    def fault(body, count):
        if asks(body, "StatementGeneratorOutput"):
            return Fault(text='<think>[]</think>{"statements": ["The mine ```holds``` zinc."]}')
        if asks(body, "NLIStatementOutput"):
            said = json.dumps({"statements": [verdict]})
            return Fault(text=f"<think>{json.dumps({'statements': [draft]})}</think>\n{said}")
        return None

    with serving(ScriptedServer(fault=fault)) as server:
        assert scored(server, metrics=("faithfulness",), mode=mode)["faithfulness"].value == 1.0
        assert len(server.requests) == 2  # nothing was asked, and paid, twice


def test_metrics_with_a_reference_only_where_there_is_one():
    bare = AskedQuestion(id="q", text=QUESTION.text)
    with serving() as server:
        found = scored(server, question=bare)
    assert set(found) == {"faithfulness", "answer_relevancy"}


def test_a_wrong_key_stops_the_run_and_is_not_shown():
    with serving(ScriptedServer(key="right")) as server:

        async def run():
            judge = planted.Judge(
                endpoint=planted.endpoint(server.url, api_key=planted_secret("sk-wrong"))
            )
            try:
                await judge.scores(QUESTION, TEXTS, ANSWER, Calls({}))
            finally:
                await judge.endpoint.close()

        with pytest.raises(EndpointError, match="key was refused") as caught:
            asyncio.run(run())
    assert "sk-wrong" not in str(caught.value)
    assert "***" in str(caught.value)


def planted_secret(text):
    from rankgate.scorers.remote.secret import Secret

    return Secret(text)


@pytest.mark.parametrize(
    ("judge", "scorer", "same"),
    [
        ("rerank-v3.5", "remote/cohere:rerank-v3.5", True),
        ("BAAI/bge-reranker-v2-m3", "cross-encoder/BAAI/bge-reranker-v2-m3", True),
        ("all-MiniLM-L6-v2", "late-interaction/all-MiniLM-L6-v2", True),
        ("LATE-interaction/all-minilm-l6-v2", "late-interaction/all-MiniLM-L6-v2", True),
        ("gpt-4o-mini", "late-interaction/all-MiniLM-L6-v2", False),
        ("", "late-interaction/all-MiniLM-L6-v2", False),
    ],
)
def test_a_reranker_never_judges_its_own_arm(judge, scorer, same):
    if not same:
        refuse_own_scorer(judge, scorer)
        return
    with pytest.raises(ConfigError, match="never judges its own arm"):
        refuse_own_scorer(judge, scorer)


def test_bad_options_are_refused():
    with pytest.raises(InputError, match="judge-mode"):
        planted.judge("http://127.0.0.1:1", mode="xml")
    with pytest.raises(InputError, match="strictness must be at least 1"):
        planted.judge("http://127.0.0.1:1", strictness=0)
    with pytest.raises(InputError, match="the judge knows"):
        planted.judge("http://127.0.0.1:1", metrics=("vibes",))
    with pytest.raises(ConfigError, match="http://"):
        planted.endpoint("127.0.0.1:1")
