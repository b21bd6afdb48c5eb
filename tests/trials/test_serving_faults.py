"""What stands behind the server fails in every way: an answer marked degraded, or a clear error.

Each fault has a deadline, and the next good call is answered again, without a restart. The rows
of docs/reliability.md come from here (`make trial-serving`). Chroma over HTTP stopped, hanging,
restarted and robbed of its disk is tried in tests/services/test_chroma_http.py.
"""

import threading
import time

import fake_openai
import fault_kit
import ingest_files as files
import numpy as np
import pytest
import server_rig as rig

from rankgate.scorers.protocol import ScorerInfo, Scores
from rankgate.testing import FakeScorer

QUESTION = "What does the gate decide?"
DEADLINE_S = 20


class Faulty:
    """Good until `fault` is set: a function of the number of texts."""

    info = ScorerInfo(id="faulty", scale="fake")

    def __init__(self):
        self.fault, self.go, self.good = None, threading.Event(), FakeScorer()

    def score(self, query, texts, context=None):
        if self.fault is None:
            return self.good.score(query, texts, context)
        return self.fault(self, len(texts))


def raising(error):
    def fault(scorer, n):
        raise error

    return fault


def hanging(scorer, n):
    scorer.go.wait(4)
    return Scores.full(np.zeros(n), "fake")


SCORER = {
    "raises": raising(ValueError("oops")),
    "runs out of memory": raising(MemoryError()),
    "loses its connection": raising(ConnectionResetError("gone")),
    "hangs 4 s": hanging,
    "NaN": lambda s, n: Scores.full(np.full(n, np.nan), "fake"),
    "infinite": lambda s, n: Scores.full(np.full(n, np.inf), "fake"),
    "one score too few": lambda s, n: Scores.full(np.zeros(n - 1), "fake"),
    "no scores": lambda s, n: None,
    "a list": lambda s, n: [0.5] * n,
}


@pytest.mark.parametrize("name", sorted(SCORER))
async def test_a_scorer_that_fails(tmp_path, name):
    scorer = Faulty()
    async with rig.in_process(tmp_path, files, scorer=scorer, skip_audit_rate=0) as client:
        scorer.fault = SCORER[name]
        body = {"query": QUESTION}
        begun = time.monotonic()
        answer = await client.post("/v1/search", json=body)
        took = time.monotonic() - begun
        found = answer.json()["retrieval"]
        outcome = f"{found['status']}, {found['degraded_reason']}"
        fault_kit.figure("serving", part="scorer", fault=name, http=answer.status_code,
                         outcome=outcome, seconds=round(took, 2))  # fmt: skip
        assert answer.status_code == 200 and answer.json()["results"], answer.text
        # One that does not look at the clock is waited for, up to request_timeout_s.
        assert name == "hangs 4 s" or (found["degraded"] and found["degraded_reason"])
        assert took < DEADLINE_S
        scorer.fault = None
        scorer.go.set()
        again = await client.post("/v1/search", json=body)
        assert again.status_code == 200 and not again.json()["retrieval"]["degraded"]


LLM = {
    "500": fake_openai.Reply(status=500),
    "429": fake_openai.Reply(status=429, headers={"Retry-After": "1"}),
    "401": fake_openai.Reply(status=401),
    "garbage": fake_openai.Reply(garbage="<html>no"),
    "cut off": fake_openai.Reply(text="The gate decides whether " * 9, cut_after=30),
    "nothing": fake_openai.Reply(text=""),
    "silent": fake_openai.Reply(text="late", holds_after=0),
    "thinks": fake_openai.Reply(text="<think>Hm, who knows.</think>The gate decides. [1]"),
    "thinks without end": fake_openai.Reply(text="<think>Hm, who knows what"),
    "forged citations": fake_openai.Reply(text="The gate decides [1][7][99]."),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(LLM))
async def test_an_llm_that_fails(tmp_path, name, stream):
    with fake_openai.serving() as llm:
        options = {
            "openai_base_url": llm.url, "openai_model": "m", "openai_timeout_s": 2.0,
            "rewrite": "off",
        }  # fmt: skip
        async with rig.in_process(tmp_path, files, **options) as client:
            pipeline = client.collections.pipeline("default")
            llm.will(LLM[name])
            begun = time.monotonic()
            said = None
            try:
                *_, said = pipeline.stream(QUESTION, generator="openai", pieces=stream)
                outcome = said.status
            finally:
                llm.go.set()
            took = time.monotonic() - begun
            text = "" if said.answer is None else said.answer.text
            fault_kit.figure("serving", part="LLM", fault=name, stream=stream, outcome=outcome,
                             seconds=round(took, 2))  # fmt: skip
            assert took < 60
            assert outcome in ("answered", "refused", "generator_failed")
            assert outcome != "generator_failed" or len(said.error) > 15
            assert "<think>" not in text and "who knows" not in text and "[99]" not in text
            assert said.outcome.kept, "what was found is shown all the same"
            llm.will(fake_openai.Reply(text="The gate decides. [1]"))
            *_, again = pipeline.stream(QUESTION, generator="openai")
            assert again.status == "answered"
