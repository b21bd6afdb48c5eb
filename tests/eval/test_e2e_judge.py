"""The judge: Ragas' exact scores on planted truths, and every defect of Ragas worked around.

Each defect has two halves: what the plain metric says, and what ours says instead.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import instructor
import openai
import pytest

from rankgate.errors import ConfigError, InputError
from rankgate_eval.end_to_end import Question
from rankgate_eval.end_to_end.calls import Calls
from rankgate_eval.end_to_end.errors import EndpointError
from rankgate_eval.end_to_end.judge import refuse_own_scorer
from rankgate_eval.end_to_end.ledger import Ledger
from rankgate_eval.end_to_end.ragas_metrics import import_ragas
from rankgate_eval.end_to_end.scripted_server import Fault, ScriptedServer, serving

_SPEC = importlib.util.spec_from_file_location(
    "e2e_planted", Path(__file__).with_name("e2e_planted.py")
)
planted = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(planted)

# Ragas' own client writes an id into the user's home, and leaves the file open.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*uuid.json.*:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))


QUESTION = Question(
    id="q", text="What does the mine hold?", references=("The mine holds zinc.",), answerable=True
)
TEXTS = ["The mine holds zinc. The shaft is deep.", "The road is long. The mine holds zinc."]
# Three statements from the passages, one from nowhere.
ANSWER = "The mine holds zinc. The shaft is deep. The road is long. The king came by."


def scored(server, answer=ANSWER, texts=TEXTS, question=QUESTION, ledger=None, **options):
    """Scores of one answer by our judge."""

    async def run():
        judge = planted.judge(server.url, **options)
        calls = Calls(Ledger(None) if ledger is None else ledger)
        try:
            return await judge.scores(question, texts, answer, calls)
        finally:
            await judge.endpoint.close()
            await judge.embeddings.close()

    return asyncio.run(run())


def plain(server, metric, mode=None, **given):
    """The value of Ragas' own metric over Ragas' own client."""
    collections = import_ragas()
    from ragas.embeddings import OpenAIEmbeddings
    from ragas.llms.base import InstructorLLM

    async def run():
        async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
            patched = instructor.from_openai(
                client, mode=instructor.Mode.JSON if mode is None else mode
            )
            llm = InstructorLLM(client=patched, model="judge", provider="openai")
            kind = getattr(collections, metric)
            if metric == "AnswerRelevancy":
                made = kind(llm, OpenAIEmbeddings(client=client, model="embedder"))
            else:
                made = kind(llm)
            return (await made.ascore(**given)).value

    return asyncio.run(run())


def asks(body, name):
    """Whether a request asks for this model of Ragas."""
    said = "".join(str(m.get("content")) for m in body.get("messages", []))
    return f'"title": "{name}", "type": "object"}}Do not use' in said


def reply(name, value, *, only_first=False):
    """A fault that answers one kind of question with fixed data."""

    def fault(body, count):
        if asks(body, name) and not (only_first and len(body["messages"]) > 1):
            return Fault(text=json.dumps(value))
        return None

    return fault


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


# What Ragas gets wrong.

ONE_VERDICT = {"statements": [{"statement": "s", "reason": "r", "verdict": 1}]}


def test_defect_fewer_verdicts_than_statements():
    with serving(ScriptedServer(fault=reply("NLIStatementOutput", ONE_VERDICT))) as server:
        value = plain(
            server,
            "Faithfulness",
            user_input=QUESTION.text,
            response=ANSWER,
            retrieved_contexts=TEXTS,
        )
        assert value == 1.0  # one of four looked at, and all is well
        found = scored(server)
    assert found["faithfulness"].value is None
    assert found["faithfulness"].missing == "verdict_count"
    assert "1 verdicts for 4 statements" in found["faithfulness"].detail
    assert found["factual_correctness"].missing == "verdict_count"


def test_a_wrong_count_is_asked_for_again_and_then_right():
    fault = reply("NLIStatementOutput", ONE_VERDICT, only_first=True)
    with serving(ScriptedServer(fault=fault)) as server:
        found = scored(server)
        again = [b for b in server.requests if len(b.get("messages", [])) == 3]
    assert found["faithfulness"].value == 0.75
    assert "1 verdicts for 4 statements" in again[0]["messages"][2]["content"]


def test_defect_verdicts_beyond_one():
    rows = [{"statement": "s", "reason": "r", "attributed": v} for v in (3, 1)]
    fault = reply("ContextRecallOutput", {"classifications": rows})
    with serving(ScriptedServer(fault=fault)) as server:
        value = plain(
            server,
            "ContextRecall",
            user_input=QUESTION.text,
            retrieved_contexts=TEXTS,
            reference=QUESTION.references[0],
        )
        assert value == 2.0  # of at most 1
        found = scored(server)["context_recall"]
    assert found.missing == "invalid"
    assert "must be 0 or 1, got 3" in found.detail


def test_defect_strictness_makes_one_call_with_the_cache(tmp_path):
    collections = import_ragas()
    from ragas.cache import DiskCacheBackend
    from ragas.embeddings import OpenAIEmbeddings
    from ragas.llms.base import InstructorLLM

    cache = DiskCacheBackend(cache_dir=str(tmp_path / "cache"))

    async def theirs(url, model):
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            patched = instructor.from_openai(client, mode=instructor.Mode.JSON)
            llm = InstructorLLM(client=patched, model=model, provider="openai", cache=cache)
            embeddings = OpenAIEmbeddings(client=client, model="embedder")
            metric = collections.AnswerRelevancy(llm, embeddings, strictness=3)
            await metric.ascore(user_input=QUESTION.text, response=ANSWER)

    def sampled(server):
        return [b for b in server.requests if asks(b, "AnswerRelevanceOutput")]

    with serving() as server:
        asyncio.run(theirs(server.url, "one"))
        assert len(sampled(server)) == 1
        # And the cache does not know one model from another.
        asyncio.run(theirs(server.url, "another"))
        assert len(sampled(server)) == 1
    cache.cache.close()
    with serving() as server, Ledger(tmp_path / "calls.jsonl") as ledger:
        scored(server, ledger=ledger)
        assert len(sampled(server)) == 3
        assert {b["temperature"] for b in sampled(server)} == {0.3}
        scored(server, ledger=ledger)  # all of it known
        assert len(sampled(server)) == 3
        scored(server, ledger=ledger, strictness=5)
        assert len(sampled(server)) == 5


def test_the_key_has_model_and_parameters(tmp_path):
    def run(server, ledger, name, parameters):
        async def work():
            judge = planted.Judge(
                endpoint=planted.endpoint(server.url, name, parameters=parameters),
                metrics=("faithfulness",),
            )
            try:
                await judge.scores(QUESTION, TEXTS, ANSWER, Calls(ledger))
            finally:
                await judge.endpoint.close()

        asyncio.run(work())
        return len(server.requests)

    with serving() as server, Ledger(tmp_path / "calls.jsonl") as ledger:
        assert run(server, ledger, "a", {"temperature": 0.0}) == 2
        assert run(server, ledger, "a", {"temperature": 0.0}) == 2
        assert run(server, ledger, "b", {"temperature": 0.0}) == 4
        assert run(server, ledger, "a", {"temperature": 0.5}) == 6


def test_defect_negative_relevancy_is_clipped_and_counted():
    def vector(text):
        return [1.0, 0.0] if text == QUESTION.text else [-0.6, 0.8]

    with serving(ScriptedServer(vector=vector)) as server:
        value = plain(server, "AnswerRelevancy", user_input=QUESTION.text, response=ANSWER)
        assert value == pytest.approx(-0.6)
        found = scored(server, repeat=2)["answer_relevancy"]
    assert found.values == (0.0, 0.0)
    assert found.clipped == 2


def test_defect_empty_question_is_left_out_in_silence():
    fault = reply("AnswerRelevanceOutput", {"question": "", "noncommittal": 0})
    with serving(ScriptedServer(fault=fault)) as server:
        value = plain(server, "AnswerRelevancy", user_input=QUESTION.text, response=ANSWER)
        assert value == 0.0
        found = scored(server)["answer_relevancy"]
    assert found.value is None
    assert found.missing == "no_question"


def test_defect_zero_vector_gives_nan():
    with serving(ScriptedServer(vector=lambda text: [0.0, 0.0])) as server:
        with pytest.warns(RuntimeWarning, match="invalid value"):
            found = scored(server)["answer_relevancy"]
    assert found.value is None
    assert found.missing == "no_statements"


def test_defect_no_claims_score_zero():
    with serving(ScriptedServer(fault=reply("ClaimDecompositionOutput", {"claims": []}))) as server:
        value = plain(
            server, "FactualCorrectness", response=ANSWER, reference=QUESTION.references[0]
        )
        assert value == 0.0
        found = scored(server)["factual_correctness"]
    assert found.missing == "no_claims"


def test_defect_empty_contexts_raise_and_are_ruled_on():
    with serving() as server:
        with pytest.raises(ValueError, match="retrieved_contexts is missing"):
            plain(
                server,
                "Faithfulness",
                user_input=QUESTION.text,
                response=ANSWER,
                retrieved_contexts=[],
            )
        found = scored(server, texts=[])
    for metric in ("faithfulness", "context_precision", "context_recall"):
        assert found[metric].values == (0.0,)
        assert found[metric].ruled == "empty_contexts"
    assert found["factual_correctness"].value == 0.4  # needs no context


def test_defect_telemetry():
    program = (
        "import os, sys; os.environ.pop('RAGAS_DO_NOT_TRACK', None)\n"
        "import rankgate_eval.end_to_end\n"
        "from rankgate_eval.end_to_end.ragas_metrics import import_ragas\n"
        "assert 'ragas' not in sys.modules and 'httpx' not in sys.modules\n"
        # Somebody has imported it before, and it has made up its mind.
        "from ragas import _analytics\n"
        "print(_analytics.do_not_track())\n"
        "import_ragas()\n"
        "print(_analytics.do_not_track(), os.environ['RAGAS_DO_NOT_TRACK'])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["False", "True", "true"]


# What a judge may do.


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


def test_metrics_with_a_reference_only_where_there_is_one():
    bare = Question(id="q", text=QUESTION.text)
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
                await judge.scores(QUESTION, TEXTS, ANSWER, Calls(Ledger(None)))
            finally:
                await judge.endpoint.close()

        with pytest.raises(EndpointError, match="key was refused") as caught:
            asyncio.run(run())
    assert "sk-wrong" not in str(caught.value)
    assert "***" in str(caught.value)


def planted_secret(text):
    from rankgate.scorers.secret import Secret

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
