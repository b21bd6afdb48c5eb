"""RemoteScorer in every dialect, against servers that speak it strictly."""

import asyncio
import contextlib
import copy
import gc
import json
import logging
import os
import pickle
import threading

import httpx
import numpy as np
import pytest
import rerank_servers as servers
from waiting import auntil

from rankgate.deadline import Deadline
from rankgate.errors import (
    ConfigError,
    InputError,
    RemoteAuthError,
    RemoteLimitError,
    RemoteScorerError,
)
from rankgate.scorers.protocol import Job, ScoreContext
from rankgate.scorers.remote.dialects import DIALECTS
from rankgate.scorers.remote.scorer import RemoteScorer

serving, expected, MODEL = servers.serving, servers.expected, servers.MODEL
ALL = sorted(servers.RULES)
QUERY = "capital of france"
TEXTS = ["berlin is a city", "paris is the capital of france", "the capital", "cats", "of france"]


def scorer_for(server, **settings):
    return RemoteScorer(server.url, dialect=server.dialect, **{"model": MODEL, **settings})


def test_every_dialect_has_a_strict_server():
    assert sorted(DIALECTS) == ALL


@pytest.mark.parametrize("dialect", ALL)
def test_scores_come_back_in_input_order(dialect):
    with serving(dialect) as server, scorer_for(server) as scorer:
        scores = scorer.score(QUERY, TEXTS)
    np.testing.assert_allclose(scores.values, expected(dialect, QUERY, TEXTS), rtol=1e-6)
    assert scores.values.dtype == np.float32
    assert scores.complete
    assert scores.scale == scorer.info.scale
    assert (scores.stats.calls, scores.stats.pairs) == (1, 5)
    assert scores.stats.tokens == (0 if dialect in ("tei", "cohere") else 20)


@pytest.mark.parametrize("dialect", ALL)
async def test_async_gives_the_same(dialect):
    with serving(dialect) as server:
        async with scorer_for(server, max_batch=2) as scorer:
            native = await scorer.ascore(QUERY, TEXTS)
            blocking = await asyncio.to_thread(scorer.score, QUERY, TEXTS)
    np.testing.assert_array_equal(native.values, blocking.values)
    assert native.stats == blocking.stats


@pytest.mark.parametrize("dialect", ALL)
def test_blank_texts_and_a_blank_query_keep_their_places(dialect):
    texts = ["paris", "", "  ", "\x00", "berlin"]
    with serving(dialect) as server, scorer_for(server) as scorer:
        scores = scorer.score("", texts)
        sent = server.requests[0].body[server.rules.texts]
    assert scores.complete and np.isfinite(scores.values).all()
    assert len(sent) == 5 and sent[0] == "paris" and sent[4] == "berlin"
    assert scores.values[0] == pytest.approx(expected(dialect, "", ["paris"])[0])


@pytest.mark.parametrize(
    ("dialect", "settings", "scale"),
    [
        ("cohere", {}, f"cohere-v2:{MODEL}"),
        ("jina", {}, f"jina:{MODEL}"),
        ("tei", {}, f"tei:sigmoid:{MODEL}"),
        ("tei", {"raw_scores": True}, f"tei:raw:{MODEL}"),
        ("llama.cpp", {}, f"llama.cpp:{MODEL}"),
        ("vllm-score", {}, f"vllm-score:{MODEL}"),
    ],
)
def test_the_scale_names_dialect_model_and_form(dialect, settings, scale):
    scorer = RemoteScorer("http://127.0.0.1:1", dialect=dialect, model=MODEL, **settings)
    assert scorer.info.scale == scale
    assert scorer.info.backend == "http"


def test_tei_raw_scores_are_logits():
    with serving("tei") as server, scorer_for(server, raw_scores=True) as scorer:
        scores = scorer.score(QUERY, TEXTS)
    np.testing.assert_allclose(scores.values, expected("tei", QUERY, TEXTS, raw=True), rtol=1e-6)


def test_split_over_the_limit_restores_the_offsets():
    texts = [f"text {'x' * i} {'france' if i % 7 == 0 else ''}" for i in range(75)]
    with serving("tei") as server, scorer_for(server) as scorer:
        scores = scorer.score(QUERY, texts)
        sizes = [len(r.body["texts"]) for r in server.requests]
    assert sizes == [32, 32, 11]
    np.testing.assert_allclose(scores.values, expected("tei", QUERY, texts), rtol=1e-6)
    assert scores.stats.calls == 3


@pytest.mark.parametrize("status", [413, 422])
def test_a_refused_batch_is_halved_and_the_size_remembered(status):
    texts = [f"t{'x' * i}" for i in range(20)]
    with serving("tei", limit=5, over=status) as server, scorer_for(server) as scorer:
        first = scorer.score(QUERY, texts)
        assert [len(r.body["texts"]) for r in server.requests] == [20, 10, 5, 5, 5, 5]
        assert scorer.batch_limit == 5
        server.requests.clear()
        second = scorer.score(QUERY, texts)
        assert [len(r.body["texts"]) for r in server.requests] == [5, 5, 5, 5]
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_allclose(first.values, expected("tei", QUERY, texts), rtol=1e-6)


def test_one_poisonous_text_does_not_lower_the_limit():
    """A naive client that remembers at once sends single texts for ever after."""
    with serving("tei") as server, scorer_for(server) as scorer:
        refused = servers.Fault(kind="status", status=422)
        server.faults.extend([refused] * 4)
        with pytest.raises(RemoteLimitError):
            scorer.score(QUERY, [f"t{i}" for i in range(8)])
        assert scorer.batch_limit == 32


def test_no_texts_no_request():
    with serving("cohere") as server, scorer_for(server) as scorer:
        scores = scorer.score(QUERY, [])
        assert server.requests == []
    assert scores.values.shape == scores.scored.shape == (0,)


def test_several_queries_in_one_call():
    with serving("jina") as server, scorer_for(server) as scorer:
        one, two = scorer.score_many(
            [Job(query=QUERY, texts=TEXTS), Job(query="cats", texts=["cats", "dogs"])]
        )
    np.testing.assert_allclose(one.values, expected("jina", QUERY, TEXTS), rtol=1e-6)
    np.testing.assert_allclose(two.values, expected("jina", "cats", ["cats", "dogs"]), rtol=1e-6)


async def test_concurrency_is_bounded_and_keeps_the_order():
    texts = [f"t{'x' * i}" for i in range(12)]
    with serving("tei") as server:
        server.faults.extend([servers.Fault(kind="held")] * 6)
        async with scorer_for(server, max_batch=2, concurrency=3) as scorer:
            task = asyncio.create_task(scorer.ascore(QUERY, texts))
            for come in (3, 6):
                await auntil(lambda come=come: len(server.requests) == come)
                server.let(3)
            scores = await task
        assert server.most_in_flight == 3
    np.testing.assert_allclose(scores.values, expected("tei", QUERY, texts), rtol=1e-6)


async def test_sequential_by_default():
    with serving("tei") as server:
        server.faults.extend([servers.Fault(kind="held")] * 3)
        async with scorer_for(server, max_batch=2) as scorer:
            task = asyncio.create_task(scorer.ascore(QUERY, TEXTS))
            for come in (1, 2, 3):
                await auntil(lambda come=come: len(server.requests) == come)
                server.let()
            await task
        assert server.most_in_flight == 1


def test_requests_name_what_the_dialect_wants():
    with serving("cohere", key="k-1") as server:
        with scorer_for(server, api_key="k-1", max_tokens_per_doc=99) as scorer:
            scorer.score(QUERY, TEXTS)
        sent = server.requests[0]
    assert sent.body == {
        "model": MODEL,
        "query": QUERY,
        "documents": TEXTS,
        "top_n": 5,
        "max_tokens_per_doc": 99,
    }
    assert sent.headers["content-type"] == "application/json"
    assert scorer.info.window == "max_tokens_per_doc=99"


def test_cost_is_units_times_price():
    with serving("cohere") as server, scorer_for(server, price=0.002) as scorer:
        scores = scorer.score(QUERY, ["t"] * 150)
    assert scores.stats.cost == pytest.approx(2 * 0.002)


def test_surrogates_and_nul_never_reach_the_wire():
    with serving("infinity") as server, scorer_for(server) as scorer:
        scores = scorer.score("q\ud800\x00", ["a\udfffb\x00c", "😀 שלום"])
        raw = server.requests[0].raw
    assert scores.complete
    assert json.loads(raw.decode("utf-8"))["documents"] == ["a?b c", "😀 שלום"]
    assert b"\\ud" not in raw and b"\\u0000" not in raw


def test_deadline_already_over_sends_nothing():
    context = ScoreContext(deadline=Deadline.after(-1))
    with serving("tei") as server, scorer_for(server) as scorer:
        scores = scorer.score(QUERY, TEXTS, context)
        assert server.requests == []
    assert not scores.scored.any() and scores.values.shape == (5,)


@pytest.mark.parametrize("native", [False, True])
async def test_deadline_between_batches_gives_a_prefix(native):
    with serving("tei") as server:
        server.faults.extend([servers.Fault(kind="late", seconds=25)] * 5)
        async with scorer_for(server, max_batch=1) as scorer:
            context = ScoreContext(deadline=Deadline.after(60, clock=server.clock))
            scores = (
                await scorer.ascore(QUERY, TEXTS, context)
                if native
                else await asyncio.to_thread(scorer.score, QUERY, TEXTS, context)
            )
    assert scores.scored.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(scores.values[:3], expected("tei", QUERY, TEXTS)[:3], rtol=1e-6)


@pytest.mark.parametrize(
    ("url", "dialect", "path"),
    [
        ("{}", "tei", "/rerank"),
        ("{}/", "cohere", "/v2/rerank"),
        ("{}/v1", "jina", "/v1/rerank"),
        ("{}/v1/", "vllm-rerank", "/v1/rerank"),
        ("{}/api/rerank", "tei", "/api/rerank"),
        ("{}/proxy", "infinity", "/proxy/rerank"),
        ("{}?version=1", "tei", "/rerank?version=1"),
    ],
)
def test_base_urls_and_endpoints(url, dialect, path):
    with serving(dialect) as server:
        with RemoteScorer(url.format(server.url), dialect=dialect, model=MODEL) as scorer:
            # A strict server answers 404 to all but its own path; here only the path matters.
            with contextlib.suppress(RemoteScorerError):
                scorer.score(QUERY, TEXTS)
        assert [r.path for r in server.requests] == [path]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"dialect": "openai"}, "known: cohere"),
        ({"model": None}, "model="),
        ({"url": "127.0.0.1:80"}, "http://"),
        ({"url": "http://user:pw@127.0.0.1"}, "api_key"),
        ({"raw_scores": True}, "only tei"),
        ({"dialect": "tei", "max_tokens_per_doc": 5}, "only cohere"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"max_batch": 0}, "max_batch"),
        ({"max_retries": -1}, "max_retries"),
        ({"concurrency": 0}, "concurrency"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
    ],
)
def test_unusable_settings_say_so(settings, word):
    good = {"url": "http://127.0.0.1:1", "dialect": "cohere", "model": MODEL}
    with pytest.raises(ConfigError, match=word) as caught:
        RemoteScorer(**{**good, **settings})
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("key", ["line\nend", "", "sp ace", "ключ"])
def test_a_key_that_no_header_carries_is_refused_unquoted(key):
    """httpx quotes an illegal header value, key and all, in its own error."""
    with pytest.raises(ConfigError) as caught:
        RemoteScorer("http://127.0.0.1:1", dialect="tei", model=MODEL, api_key=key)
    assert not key or key not in str(caught.value)


def test_the_key_is_never_shown(caplog):
    class PydanticLike:
        def get_secret_value(self):
            return "sk-very-secret"

    caplog.set_level(logging.DEBUG)
    with serving("cohere", key="another") as server:
        with scorer_for(server, api_key=PydanticLike()) as scorer:
            with pytest.raises(RemoteAuthError) as caught:
                scorer.score(QUERY, TEXTS)
            assert server.requests[0].headers["authorization"] == "Bearer sk-very-secret"
            shown = [repr(scorer), str(vars(scorer)), str(caught.value), caplog.text]
    assert "***" in str(caught.value), "the server echoed the key, and it was taken out"
    assert not any("sk-very-secret" in s for s in shown)


def test_pickle_opens_its_own_connections_and_names_the_keys_variable(monkeypatch):
    """The key itself once stood in the pickle, wherever that was kept."""
    with serving("tei", key="k-9") as server, scorer_for(server, api_key="k-9") as scorer:
        before = scorer.score(QUERY, TEXTS)
        with pytest.raises(ConfigError, match="does not go into a pickle"):
            pickle.dumps(scorer)
        with copy.deepcopy(scorer) as twin:  # within a process it is no pickle
            assert twin.score(QUERY, TEXTS).values.size == before.values.size
        monkeypatch.setenv("MY_KEY", "k-9")
        data = pickle.dumps(scorer)
        assert b"k-9" not in data and b"MY_KEY" in data
        with pickle.loads(data) as twin:
            after = twin.score(QUERY, TEXTS)
            assert twin.info == scorer.info
        monkeypatch.delenv("MY_KEY")
        with pytest.raises(ConfigError, match="variable MY_KEY where it was pickled"):
            pickle.loads(data)
    np.testing.assert_array_equal(before.values, after.values)


def test_an_injected_client_is_used_kept_open_and_not_pickled():
    with serving("tei") as server, httpx.Client(headers={"X-Mine": "1"}, trust_env=False) as mine:
        scorer = scorer_for(server, client=mine)
        scorer.score(QUERY, TEXTS)
        scorer.close()
        assert server.requests[0].headers["x-mine"] == "1"
        assert not mine.is_closed
        with pytest.raises(ConfigError, match="injected"):
            pickle.dumps(scorer)


def test_own_clients_read_no_proxy_from_the_environment(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serving("tei") as server, scorer_for(server, max_retries=0) as scorer:
        assert scorer.score(QUERY, TEXTS).complete


def test_connections_are_kept_and_reopened_after_close():
    with serving("tei") as server:
        scorer = scorer_for(server)
        first = scorer.score(QUERY, TEXTS)
        scorer.close()
        second = scorer.score(QUERY, TEXTS)
        scorer.close()
        scorer.close()
    np.testing.assert_array_equal(first.values, second.values)


def test_one_scorer_in_several_event_loops():
    """A naive shared AsyncClient fails with "Event loop is closed" in the second loop."""
    with serving("tei") as server:
        scorer = scorer_for(server)

        async def once():
            try:
                return await scorer.ascore(QUERY, TEXTS)
            finally:
                await scorer.aclose()

        first, second = asyncio.run(once()), asyncio.run(once())
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_loops_that_ended_without_aclose_do_not_pile_up():
    def clients():
        gc.collect()
        # By type: `isinstance` asks lazy modules of others for attributes that warn.
        return sum(type(thing) is httpx.AsyncClient for thing in gc.get_objects())

    before = clients()
    with serving("tei") as server:
        scorer = scorer_for(server)
        for _ in range(5):
            assert asyncio.run(scorer.ascore(QUERY, TEXTS)).complete
        assert clients() <= before + 1
        del scorer
        gc.collect()


def test_a_forked_child_does_not_share_the_parents_socket():
    with serving("tei") as server, scorer_for(server) as scorer:
        mine = scorer.score(QUERY, TEXTS).values
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            same = np.array_equal(scorer.score(QUERY, TEXTS).values, mine)
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ports = len(server.requests)
        np.testing.assert_array_equal(scorer.score(QUERY, TEXTS).values, mine)
    assert ports == 2


def test_wrong_types_are_refused_before_anything_is_sent():
    with serving("tei") as server, scorer_for(server) as scorer:
        for query, texts in ((None, TEXTS), (QUERY, "paris"), (QUERY, ["a", None]), (QUERY, None)):
            with pytest.raises(InputError):
                scorer.score(query, texts)
        assert server.requests == []


def test_cancelling_from_another_thread_ends_the_wait():
    with serving("tei") as server, scorer_for(server, timeout_s=5) as scorer:
        server.faults.append(servers.Fault(kind="status", status=429, headers={"Retry-After": "4"}))
        context = ScoreContext()
        threading.Timer(0.2, context.cancelled.set).start()
        with pytest.raises(RemoteLimitError):
            scorer.score(QUERY, TEXTS, context)
        assert len(server.requests) == 1
