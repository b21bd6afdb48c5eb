"""Every defect of Ragas that is worked around.

Each has two halves: what the plain metric says, and what ours says instead.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import e2e_judging as kit
import instructor
import openai
import pytest
from e2e_server import ScriptedServer, serving

from rankgate_eval.answers.judge import load_ragas
from rankgate_eval.paid.calls import Calls, open_store

planted, home = kit.planted, kit.home
scored, plain, asks, reply = kit.scored, kit.plain, kit.asks, kit.reply
QUESTION, TEXTS, ANSWER = kit.QUESTION, kit.TEXTS, kit.ANSWER
ONE_VERDICT = kit.ONE_VERDICT

# Ragas' own client writes an id into the user's home, and leaves the file open.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*uuid.json.*:pytest.PytestUnraisableExceptionWarning"
)


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
        again = [b for b in server.requests if kit.asked_again(b)]
    assert found["faithfulness"].value == 0.75
    assert "1 verdicts for 4 statements" in again[0]["messages"][-1]["content"]


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
    collections = load_ragas().collections
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
    with serving() as server, open_store(tmp_path / "calls") as store:
        scored(server, store=store)
        assert len(sampled(server)) == 3
        assert {b["temperature"] for b in sampled(server)} == {0.3}
        scored(server, store=store)  # all of it known
        assert len(sampled(server)) == 3
        scored(server, store=store, strictness=5)
        assert len(sampled(server)) == 5


def test_the_key_has_model_and_parameters(tmp_path):
    def run(server, store, name, parameters):
        async def work():
            judge = planted.Judge(
                endpoint=planted.endpoint(server.url, name, parameters=parameters),
                metrics=("faithfulness",),
            )
            try:
                await judge.scores(QUESTION, TEXTS, ANSWER, Calls(store))
            finally:
                await judge.endpoint.close()

        asyncio.run(work())
        return len(server.requests)

    with serving() as server, open_store(tmp_path / "calls") as store:
        assert run(server, store, "a", {"temperature": 0.0}) == 2
        assert run(server, store, "a", {"temperature": 0.0}) == 2
        assert run(server, store, "b", {"temperature": 0.0}) == 4
        assert run(server, store, "a", {"temperature": 0.5}) == 6


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
        "import rankgate_eval.answers\n"
        "from rankgate_eval.answers.judge import load_ragas\n"
        "assert 'ragas' not in sys.modules and 'httpx' not in sys.modules\n"
        # Somebody has imported it before, and it has made up its mind.
        "from ragas import _analytics\n"
        "print(_analytics.do_not_track())\n"
        "load_ragas()\n"
        "print(_analytics.do_not_track(), os.environ['RAGAS_DO_NOT_TRACK'])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["False", "True", "true"]
