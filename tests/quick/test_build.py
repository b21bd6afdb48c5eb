"""Build: one string names a scorer, one order of wrappers stands around it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from rerank_servers import Fault, serving

import rankgate
from rankgate import Policy, Reranker, ScorerInfo
from rankgate.errors import ConfigError, InputError
from rankgate.scorers import RemoteScorer
from rankgate.scorers.build import (
    BARE,
    MEASURED,
    SCORER_FORMS,
    ScorerName,
    Wrapping,
    wrapped,
)
from rankgate.scorers.wrappers import Batched, Breaker, Cached, Windowed
from rankgate.scorers.wrappers.traits import close, innermost
from rankgate.testing import FakeScorer, candidates_of


def layers(scorer):
    found = []
    while scorer is not None:
        found.append(type(scorer))
        scorer = getattr(scorer, "inner", None)
    return found


@pytest.mark.parametrize(
    ("text", "kind", "name", "url"),
    [
        ("late-interaction", "late-interaction", "", None),
        (" late-interaction:a/b.st ", "late-interaction", "a/b.st", None),
        ("cross-encoder:BAAI/bge-reranker-base", "cross-encoder", "BAAI/bge-reranker-base", None),
        ("BAAI/bge-reranker-base", "cross-encoder", "BAAI/bge-reranker-base", None),
        ("onnx:folder", "onnx", "folder", None),
        ("cohere:rerank-v3.5", "cohere", "rerank-v3.5", "https://api.cohere.com"),
        ("voyage:rerank-2", "voyage", "rerank-2", "https://api.voyageai.com"),
        ("jina:j@https://proxy/x", "jina", "j", "https://proxy/x"),
        ("tei:a/b@http://127.0.0.1:8080", "tei", "a/b", "http://127.0.0.1:8080"),
        ("tei:http://127.0.0.1:8080", "tei", "", "http://127.0.0.1:8080"),
        ("llama.cpp:m@http://h", "llama.cpp", "m", "http://h"),
    ],
)
def test_names_are_taken_apart(text, kind, name, url):
    assert ScorerName.parse(text) == ScorerName(kind=kind, name=name, url=url)


@pytest.mark.parametrize(
    "text", ["", " ", "bm25", "late-interaction:", "onnx:", "cohere:", "query:x", "a/b/c", None]
)
def test_what_is_no_name_lists_the_forms(text):
    with pytest.raises(InputError, match="unknown scorer") as caught:
        ScorerName.parse(text)
    assert SCORER_FORMS in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cohere:rerank-v3.5", {}, "needs a key: rankgate.load"),
        ("tei:http://127.0.0.1:1", {}, "the model that the server runs"),
        ("tei:model", {}, "the URL of the server"),
        ("late-interaction", {"api_key": "k"}, "are for remote scorers"),
        ("cross-encoder:a/b", {"token_store": object()}, "is for late interaction"),
    ],
)
def test_what_a_name_lacks_or_cannot_use_is_said(name, options, message):
    with pytest.raises(ConfigError, match=message):
        rankgate.load(name, **options)


def test_no_key_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("COHERE_API_KEY", "from-the-environment")
    monkeypatch.setenv("CO_API_KEY", "from-the-environment")
    with pytest.raises(ConfigError, match="api_key"):
        rankgate.load("cohere:rerank-v3.5")


def test_the_wrappers_stand_in_one_order():
    inner = FakeScorer(info=ScorerInfo(id="x", scale="s", max_length=64))
    assert layers(wrapped(inner)) == [Cached, Breaker, Batched, Windowed, FakeScorer]
    assert layers(wrapped(inner, BARE)) == [FakeScorer]
    assert layers(wrapped(inner, MEASURED)) == [Windowed, FakeScorer]
    # Nobody knows how much it reads, so nothing can be cut to fit.
    assert layers(wrapped(FakeScorer(), MEASURED)) == [FakeScorer]
    again = wrapped(wrapped(inner, MEASURED), MEASURED)
    assert layers(again) == [Windowed, FakeScorer] and innermost(again) is inner


def test_a_hosted_scorer_takes_its_key_and_its_servers_name():
    scorer = rankgate.load("cohere:rerank-v3.5", api_key="k")
    assert isinstance(innermost(scorer), RemoteScorer)
    assert scorer.info.scale == "cohere-v2:rerank-v3.5"
    assert "'k'" not in repr(innermost(scorer))
    by_option = rankgate.load("tei:http://127.0.0.1:1", model="m")
    assert by_option.info == rankgate.load("tei:m@http://127.0.0.1:1").info


def test_a_server_that_keeps_failing_is_left_alone():
    with serving("tei") as server:
        server.faults.extend([Fault(kind="status", status=401)] * 20)
        reranker = Reranker(rankgate.load(f"tei:m@{server.url}"), policy=Policy.unfitted())
        found = candidates_of(["a", "b"])
        outcomes = [reranker.rerank("q", found) for _ in range(8)]
        assert len(server.requests) == 5
        close(reranker.scorer)
    assert outcomes[0].reason.startswith("remote") and outcomes[-1].reason == "breaker_open"
    assert all(outcome.status == "degraded" for outcome in outcomes)


def test_queries_that_wait_share_a_call():
    begun, go_on = threading.Event(), threading.Event()

    class Held(FakeScorer):
        def score_many(self, jobs, context=None):
            begun.set()
            assert go_on.wait(30)
            return super().score_many(jobs, context)

    inner = Held()
    scorer = wrapped(inner, Wrapping(max_wait_ms=0.0))
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(scorer.score, "one", ["a"])
        assert begun.wait(30)
        rest = [pool.submit(scorer.score, f"q{i}", [f"t{i}"]) for i in range(8)]
        while sum(f.running() for f in rest) < 8:
            pass
        go_on.set()
        assert first.result().complete and all(f.result().complete for f in rest)
    assert inner.calls < 9
