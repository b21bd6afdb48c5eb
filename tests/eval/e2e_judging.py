"""One answer judged: by our judge, and by Ragas' own metrics over its own client."""

from __future__ import annotations

import asyncio
import json

import e2e_planted as planted
import instructor
import openai
import pytest
from e2e_server import Fault

from rankgate_eval.answers import AskedQuestion
from rankgate_eval.answers.judge import load_ragas
from rankgate_eval.paid.calls import Calls


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))


QUESTION = AskedQuestion(
    id="q", text="What does the mine hold?", references=("The mine holds zinc.",), answerable=True
)


TEXTS = ["The mine holds zinc. The shaft is deep.", "The road is long. The mine holds zinc."]


# Three statements from the passages, one from nowhere.
ANSWER = "The mine holds zinc. The shaft is deep. The road is long. The king came by."
ONE_VERDICT = {"statements": [{"statement": "s", "reason": "r", "verdict": 1}]}


def scored(server, answer=ANSWER, texts=TEXTS, question=QUESTION, store=None, **options):
    """Scores of one answer by our judge."""

    async def run():
        judge = planted.judge(server.url, **options)
        calls = Calls({} if store is None else store)
        try:
            return await judge.scores(question, texts, answer, calls)
        finally:
            await judge.endpoint.close()
            await judge.embeddings.close()

    return asyncio.run(run())


def plain(server, metric, mode=None, **given):
    """The value of Ragas' own metric over Ragas' own client."""
    collections = load_ragas().collections
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


def asked_again(body):
    """Whether the judge is told what was wrong with its last answer."""
    return any(m["role"] == "assistant" for m in body.get("messages", []))


def reply(name, value, *, only_first=False):
    """A fault that answers one kind of question with fixed data."""

    def fault(body, count):
        if asks(body, name) and not (only_first and asked_again(body)):
            return Fault(text=json.dumps(value))
        return None

    return fault
