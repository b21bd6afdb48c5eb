"""The same samples over the same endpoint: our judge, Ragas' metrics, and Ragas' own `evaluate`."""

from __future__ import annotations

import asyncio
import warnings

import e2e_judging as kit
import e2e_planted as planted
import instructor
import openai
import pytest
from e2e_server import serving

from rankgate_eval.answers.judge import load_ragas
from rankgate_eval.answers.rehearsal import sentences
from rankgate_eval.paid.calls import Calls

home = kit.home
N = 40
BOTH = ("faithfulness", "answer_relevancy")
# Ragas' own client writes an id into the user's home, and leaves the file open.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*uuid.json.*:pytest.PytestUnraisableExceptionWarning"
)


def samples():
    """Question, contexts, answer: from nowhere up to four statements of six, some all right."""
    made = []
    for i, question in enumerate(planted.questions(N)):
        texts = list((planted.right if i % 3 else planted.wrong)(i).texts)
        said = [s for text in texts for s in sentences(text)][: 1 + i % 3]
        said += [f"The king came by on day{j}." for j in range(i % 5)]
        made.append((question, texts, " ".join(said)))
    return made


async def ours(url, rows):
    judge = planted.judge(url, strictness=3)
    try:
        calls = Calls({})
        found = [await judge.scores(q, texts, answer, calls) for q, texts, answer in rows]
    finally:
        await judge.endpoint.close()
        await judge.embeddings.close()
    return [{m: s.value for m, s in one.items()} for one in found]


async def theirs(url, rows):
    """Every metric of Ragas' collections, over Ragas' own client."""
    collections = load_ragas().collections
    from ragas.embeddings import OpenAIEmbeddings
    from ragas.llms.base import InstructorLLM

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        patched = instructor.from_openai(client, mode=instructor.Mode.JSON)
        llm = InstructorLLM(client=patched, model="judge", provider="openai")
        embeddings = OpenAIEmbeddings(client=client, model="embedder")
        relevancy = collections.AnswerRelevancy(llm, embeddings, strictness=3)
        found = []
        for q, texts, answer in rows:
            asked = {"user_input": q.text, "response": answer}
            known = {
                "user_input": q.text,
                "reference": q.references[0],
                "retrieved_contexts": texts,
            }
            values = {
                "faithfulness": collections.Faithfulness(llm).ascore(
                    retrieved_contexts=texts, **asked
                ),
                "answer_relevancy": relevancy.ascore(**asked),
                "context_precision": collections.ContextPrecision(llm).ascore(**known),
                "context_recall": collections.ContextRecall(llm).ascore(**known),
                "factual_correctness": collections.FactualCorrectness(llm).ascore(
                    response=answer, reference=q.references[0]
                ),
            }
            found.append({m: (await value).value for m, value in values.items()})
    return found


def evaluated(url, rows):
    """`ragas.evaluate` with the metrics and the LangChain client that its guides show."""
    load_ragas()
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ragas import EvaluationDataset, SingleTurnSample, evaluate
        from ragas.embeddings import LangchainEmbeddingsWrapper
        from ragas.llms import LangchainLLMWrapper
        from ragas.metrics import AnswerRelevancy, Faithfulness

        result = evaluate(
            EvaluationDataset(
                samples=[
                    SingleTurnSample(user_input=q.text, response=answer, retrieved_contexts=texts)
                    for q, texts, answer in rows
                ]
            ),
            metrics=[Faithfulness(), AnswerRelevancy(strictness=3)],
            # Asked for three questions in one call, a server that knows no `n` gives one.
            llm=LangchainLLMWrapper(
                ChatOpenAI(model="judge", base_url=url, api_key="none"), bypass_n=True
            ),
            embeddings=LangchainEmbeddingsWrapper(
                OpenAIEmbeddings(
                    model="embedder", base_url=url, api_key="none", check_embedding_ctx_length=False
                )
            ),
            show_progress=False,
            raise_exceptions=True,
        )
    return result.scores


def test_scores_are_those_of_plain_ragas():
    rows = samples()
    with serving() as server:
        mine = asyncio.run(ours(server.url, rows))
        plain = asyncio.run(theirs(server.url, rows))
        whole = evaluated(server.url, rows)
    assert len(mine) == len(plain) == len(whole) == N
    assert len({round(row["faithfulness"], 6) for row in mine}) >= 8, "they have to differ"
    assert len({round(row["answer_relevancy"], 6) for row in mine}) >= 20
    far = {
        (name, metric): max(abs(a[metric] - b[metric]) for a, b in zip(mine, found, strict=True))
        for name, found in (("metrics", plain), ("evaluate", whole))
        for metric in found[0]
    }
    assert set(BOTH) <= set(whole[0]) and len(far) == 5 + 2
    assert max(far.values()) < 1e-8, far  # ours are kept with nine digits
