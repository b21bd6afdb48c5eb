"""RemoteScorer against servers that fail: every failure has its error, and none waits too long."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
import rerank_servers as servers
from waiting import auntil

from rankgate.deadline import Deadline
from rankgate.errors import (
    RemoteAuthError,
    RemoteLimitError,
    RemoteProtocolError,
    RemoteScorerError,
    ScorerTimeoutError,
)
from rankgate.policy import Policy
from rankgate.reranker import Reranker
from rankgate.scorers.protocol import ScoreContext
from rankgate.scorers.remote.dialects import server_message
from rankgate.scorers.remote.scorer import RemoteScorer
from rankgate.testing import candidates_of
from rankgate.types import Path as Stage
from rankgate.types import Status

Fault, MODEL = servers.Fault, servers.MODEL
QUERY = "capital of france"
TEXTS = ["berlin is a city", "paris is the capital of france", "the capital"]
SECRET_TEXT = "the patient is Mr Smith"


@pytest.fixture(params=["blocking", "native"])
def score(request):
    """Calls the scorer the blocking or the async way; both must fail alike."""

    def call(scorer, texts=TEXTS, context=None):
        if request.param == "blocking":
            with scorer:
                return scorer.score(QUERY, texts, context)

        async def native():
            async with scorer:
                return await scorer.ascore(QUERY, texts, context)

        return asyncio.run(native())

    return call


def scorer_for(server, **settings):
    defaults = {"model": MODEL, "timeout_s": 5.0}
    return RemoteScorer(server.url, dialect=server.dialect, **{**defaults, **settings})


def status(code, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(kind="status", status=code, headers=names)


@pytest.mark.parametrize("dialect", sorted(servers.RULES))
@pytest.mark.parametrize(
    "kind",
    [
        "truncated", "html", "other_shape", "out_of_range", "negative_index", "duplicate",
        "doubled", "missing", "text_index", "true_index", "nan", "inf", "huge", "text_score",
        "null_score",
    ],
)  # fmt: skip
def test_an_answer_outside_the_dialect_is_a_protocol_error(kind, dialect):
    """langchain-nvidia#343 and dify#1661: scores that land on another text, or nowhere."""
    with servers.serving(dialect) as server, scorer_for(server) as scorer:
        server.faults.append(Fault(kind=kind))
        with pytest.raises(RemoteProtocolError) as caught:
            scorer.score(QUERY, [*TEXTS, SECRET_TEXT])
        assert len(server.requests) == 1, "a wrong answer is not asked for again"
    assert dialect in str(caught.value)
    assert "Smith" not in str(caught.value)


def test_right_json_under_another_content_type_is_read():
    with servers.serving("llama.cpp") as server, scorer_for(server) as scorer:
        server.faults.append(Fault(kind="plain"))
        assert scorer.score(QUERY, TEXTS).complete


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_passing_trouble_is_tried_again(score, code):
    with servers.serving("cohere") as server:
        server.faults.extend([status(code), status(code)])
        scores = score(scorer_for(server))
        assert len(server.requests) == 3
    np.testing.assert_allclose(scores.values, servers.expected("cohere", QUERY, TEXTS), rtol=1e-6)
    assert scores.stats.calls == 3


@pytest.mark.parametrize(
    ("code", "error"), [(429, RemoteLimitError), (503, RemoteScorerError), (500, RemoteScorerError)]
)
def test_lasting_trouble_ends_after_max_retries(score, code, error):
    with servers.serving("jina") as server:
        server.faults.extend([status(code)] * 9)
        with pytest.raises(error, match=str(code)):
            score(scorer_for(server, max_retries=1))
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, RemoteAuthError),
        (403, RemoteAuthError),
        (400, RemoteScorerError),
        (404, RemoteScorerError),
        (405, RemoteScorerError),
        (307, RemoteScorerError),
    ],
)
def test_lasting_refusals_are_not_tried_again(score, code, error):
    with servers.serving("voyage") as server:
        server.faults.append(status(code, Location="http://127.0.0.1:1/"))
        with pytest.raises(error, match=str(code)):
            score(scorer_for(server))
        assert len(server.requests) == 1


@pytest.mark.parametrize("code", [413, 422])
def test_a_single_text_that_is_refused_is_a_limit_error(score, code):
    with servers.serving("infinity") as server:
        server.faults.append(status(code))
        with pytest.raises(RemoteLimitError, match=str(code)):
            score(scorer_for(server), texts=["one"])
        assert len(server.requests) == 1


def test_an_unknown_model_is_named_by_the_server(score):
    with servers.serving("cohere") as server:
        with pytest.raises(RemoteScorerError, match="model nonsense not found"):
            score(scorer_for(server, model="nonsense"))


def test_a_lost_connection_is_tried_again(score):
    with servers.serving("tei") as server:
        server.faults.append(Fault(kind="reset"))
        assert score(scorer_for(server)).complete
        assert len(server.requests) == 2


def test_a_connection_that_is_always_lost_ends(score):
    with servers.serving("tei") as server:
        server.faults.extend([Fault(kind="reset")] * 9)
        with pytest.raises(RemoteScorerError) as caught:
            score(scorer_for(server, max_retries=2))
        assert len(server.requests) == 3
    assert caught.value.__cause__ is not None


def test_a_body_shorter_than_announced_is_tried_again(score):
    with servers.serving("tei") as server:
        server.faults.append(Fault(kind="short_body"))
        assert score(scorer_for(server)).complete
        assert len(server.requests) == 2


def test_nobody_listens(score):
    with servers.serving("tei") as server:
        pass
    with pytest.raises(RemoteScorerError, match="check that the server runs"):
        score(scorer_for(server, max_retries=1))


def test_a_slow_server_is_a_timeout_and_asked_once(score):
    with servers.serving("tei") as server:
        server.faults.append(Fault(kind="held"))
        with pytest.raises(ScorerTimeoutError, match="timeout_s"):
            score(scorer_for(server, timeout_s=0.2))
        assert len(server.requests) == 1


def test_the_remaining_deadline_is_the_timeout_where_it_is_less(score):
    with servers.serving("tei") as server:
        server.faults.append(Fault(kind="held"))
        context = ScoreContext(deadline=Deadline.after(0.3))
        begun = time.monotonic()
        with pytest.raises(ScorerTimeoutError):
            score(scorer_for(server, timeout_s=60), context=context)
        assert time.monotonic() - begun < 30


def test_an_answer_that_trickles_in_is_given_up(score):
    """A read timeout counts from byte to byte; a byte a moment would keep it alive for ever."""
    with servers.serving("tei") as server:
        server.faults.append(Fault(kind="trickle"))
        with pytest.raises(ScorerTimeoutError):
            score(scorer_for(server, timeout_s=0.5))


def test_a_slow_second_batch_leaves_the_first_ones_scores(score):
    with servers.serving("tei") as server:
        # The second batch has half a second, and is not answered; by then the time is over.
        server.faults.extend([Fault(kind="late", seconds=59.5), Fault(kind="held", seconds=10)])
        deadline = Deadline.after(60, clock=server.clock)
        scores = score(scorer_for(server, max_batch=1), context=ScoreContext(deadline=deadline))
    assert scores.scored.tolist() == [True, False, False]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form, score):
    later = datetime.now(UTC) + timedelta(seconds=2)
    value = "1" if form == "seconds" else format_datetime(later, usegmt=True)
    with servers.serving("jina") as server:
        server.faults.append(status(429, Retry_After=value))
        assert score(scorer_for(server)).complete
        first, second = (r.at for r in server.requests)
    # A date has whole seconds, so 2 s ahead means more than 1 s from now.
    assert second - first >= 0.9


@pytest.mark.parametrize("value", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT", "inf"])
def test_a_retry_after_of_hours_is_not_slept_through(value, score):
    with servers.serving("jina") as server:
        server.faults.extend([status(429, Retry_After=value)] * 3)
        begun = time.monotonic()
        with pytest.raises(RemoteLimitError):
            score(scorer_for(server))
        assert time.monotonic() - begun < 60
        assert len(server.requests) == 1


def test_a_retry_after_beyond_the_deadline_is_not_slept_through(score):
    with servers.serving("jina") as server:
        server.faults.append(status(503, Retry_After="300"))
        begun = time.monotonic()
        with pytest.raises(RemoteScorerError, match="503"):
            score(scorer_for(server), context=ScoreContext(deadline=Deadline.after(100)))
        assert time.monotonic() - begun < 60


@pytest.mark.parametrize("value", ["soon", "", "nan", "-5", "Fri, 99 Foo 2100"])
def test_a_retry_after_that_is_none_falls_back_to_the_usual_wait(value, score):
    with servers.serving("jina") as server:
        server.faults.append(status(429, Retry_After=value))
        assert score(scorer_for(server)).complete


async def test_one_failing_batch_ends_its_companions():
    with servers.serving("tei") as server:
        server.faults.extend([Fault(kind="held"), status(401)])
        async with (
            scorer_for(server, max_batch=1, concurrency=3, timeout_s=120) as scorer,
            asyncio.timeout(30),
        ):
            with pytest.raises(RemoteAuthError):
                await scorer.ascore(QUERY, TEXTS)


async def test_cancelling_the_caller_frees_the_connection():
    with servers.serving("tei") as server:
        server.faults.append(Fault(kind="held"))
        async with scorer_for(server, max_connections=1) as scorer:
            task = asyncio.create_task(scorer.ascore(QUERY, TEXTS))
            await auntil(lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await scorer.ascore(QUERY, TEXTS)).complete


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message": "too  long\\n"}', "too long"),
        (b'{"error": "batch", "error_type": "Validation"}', "batch"),
        (b'{"error": {"message": "bad key"}}', "bad key"),
        (b'{"detail": "no model"}', "no model"),
        (b'{"detail": [{"msg": "missing", "input": "Mr Smith"}]}', "missing"),
        (b'{"detail": [{"input": "Mr Smith"}]}', ""),
        (b"<html>", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_only_messages_are_taken_from_error_answers(body, message):
    assert server_message(body) == message


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(401), "remote_auth"),
        (status(503), "remote_error"),
        (status(429), "remote_limit"),
        (Fault(kind="truncated"), "remote_protocol"),
        (Fault(kind="held"), "timeout"),
        (Fault(kind="reset"), "remote_error"),
    ],
)
def test_reranker_down_never_fails_the_request(fault, reason):
    """hindsight#3168 and ragflow#18269: the naive pipeline answered with an error 500."""
    with servers.serving("cohere") as server:
        server.faults.append(fault)
        with scorer_for(server, max_retries=0, timeout_s=0.3) as scorer:
            outcome = Reranker(scorer, policy=Policy.unfitted()).rerank(QUERY, candidates_of(TEXTS))
    assert (outcome.path, outcome.status) == (Stage.DEGRADED, Status.DEGRADED)
    assert outcome.reason == reason
    assert [p.candidate.text for p in outcome.passages] == TEXTS
