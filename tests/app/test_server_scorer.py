"""The scorer as a running server has it: shared by its users, behind a breaker, kept."""

import threading

import httpx
import ingest_files as files
import pytest
import rerank_servers
import server_rig as rig

from rag_app.ask.scorer import scorer_for
from rag_app.checks import diagnose
from rag_app.settings import Settings
from rankgate.scorers.build import Wrapping, wrapped
from rankgate.scorers.late_interaction import LateInteractionScorer
from rankgate.scorers.wrappers import Batched, Breaker, Cached, Windowed
from rankgate.scorers.wrappers.traits import innermost
from rankgate.testing import FakeScorer

Fault = rerank_servers.Fault
QUESTION = "What does the gate decide?"


def layers(scorer):
    found = []
    while scorer is not None:
        found.append(type(scorer))
        scorer = getattr(scorer, "inner", None)
    return found


def test_two_users_who_ask_at_the_same_time_share_one_call_of_the_scorer(tmp_path):
    inner = FakeScorer()
    # Three passages a question: the batch is full, and begins, when both are waiting in it.
    scorer = wrapped(inner, Wrapping(max_wait_ms=20_000, max_pairs=6))
    questions = [QUESTION, "Where do ships enter?"]
    found = {}
    with rig.on_port(tmp_path, files, scorer=scorer) as (url, _, _opened):

        def ask(question):
            body = {"messages": [{"role": "user", "content": question}]}
            answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
            found[question] = answer.json()["rankgate"]

        users = [threading.Thread(target=ask, args=(q,)) for q in questions]
        for user in users:
            user.start()
        for user in users:
            user.join(60)
    assert inner.calls == 1
    assert sorted(job.query for job in inner.jobs) == sorted(questions)
    alone = rig_answers(tmp_path / "alone", questions)
    for question in questions:
        assert scores(found[question]) == alone[question]


def rig_answers(base, questions):
    base.mkdir()
    found = {}
    with rig.on_port(base, files, scorer=FakeScorer()) as (url, _, _opened):
        for question in questions:
            body = {"messages": [{"role": "user", "content": question}]}
            answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
            found[question] = scores(answer.json()["rankgate"])
    return found


def scores(answer):
    return [(row["title"], row["raw_score"]) for row in answer["trace"]["kept"]]


def test_a_remote_scorer_that_keeps_failing_is_left_alone_and_questions_are_answered(tmp_path):
    with rerank_servers.serving("tei") as remote:
        remote.faults.extend([Fault(kind="other_shape")] * 5)
        name = f"tei:tiny@{remote.url}"
        with rig.on_port(tmp_path, files, scorer=name) as (url, _, _opened):

            def asked():
                answer = httpx.post(f"{url}/v1/search", json={"query": QUESTION}, timeout=60)
                assert answer.status_code == 200
                assert answer.json()["results"], "a failing scorer failed the request"
                return answer.json()["trace"]

            broken = [asked() for _ in range(5)]
            assert {t["status"] for t in broken} == {"degraded"}
            assert {t["reason"] for t in broken} == {"remote_protocol"}
            assert len(remote.requests) == 5
            left = asked()
            assert (left["status"], left["reason"]) == ("degraded", "breaker_open")
            assert len(remote.requests) == 5, "it was asked although the breaker is open"
            ready = httpx.get(f"{url}/readyz").json()
            assert ready["ready"] and "left alone" in ready["checks"]["scorer"]["detail"]
            assert "rankgate_scorer_breaker_open 1.0" in httpx.get(f"{url}/metrics").text


def test_a_remote_scorers_answer_is_not_asked_for_twice(tmp_path):
    with rerank_servers.serving("tei", key="k-1") as remote:
        name = f"tei:tiny@{remote.url}"
        with rig.on_port(tmp_path, files, scorer=name, scorer_api_key="k-1") as (url, _, _opened):
            first, second = (
                httpx.post(f"{url}/v1/search", json={"query": QUESTION}, timeout=60).json()
                for _ in range(2)
            )
    assert first["trace"]["status"] == second["trace"]["status"] == "reranked"
    assert first["results"] == second["results"]
    assert (first["trace"]["counts"]["cached"], second["trace"]["counts"]["cached"]) == (0, 3)
    assert len(remote.requests) == 1


@pytest.mark.model
def test_the_default_scorer_keeps_its_policy_and_outlives_a_write(tmp_path, encoder):
    _, opened = rig.make(tmp_path, files, embedder=encoder, scorer="late-interaction")
    with opened:
        first = opened.pipeline("default")
        assert layers(first.reranker.scorer) == [
            Cached,
            Breaker,
            Batched,
            Windowed,
            LateInteractionScorer,
        ]
        assert first.reranker.policy.name != "unfitted"
        opened.write("default", lambda store: store.settle()).result(60)
        second = opened.pipeline("default")
        assert second is not first
        assert second.reranker.scorer is first.reranker.scorer


def test_one_user_alone_waits_for_nobody(tmp_path):
    name = f"cross-encoder:{tmp_path / 'none'}"
    assert Batched not in layers(scorer_for(Settings(scorer=name)))
    assert Batched in layers(scorer_for(Settings(scorer=name), shared=True))
    assert Cached not in layers(scorer_for(Settings(scorer=name, scorer_cache_mb=0)))
    assert not innermost(scorer_for(Settings(scorer=name))).loaded


def test_doctor_says_what_a_remote_scorer_is_sent(tmp_path):
    settings = Settings(scorer="tei:tiny@http://127.0.0.1:9", data_dir=tmp_path / "none")
    (found,) = [check for check in diagnose(settings) if check.name == "scorer"]
    assert found.verdict == "note"
    assert "questions and passages are sent to http://127.0.0.1:9" in found.detail
