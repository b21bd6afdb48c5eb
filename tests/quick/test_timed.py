"""Timed and the metrics: right numbers under the right names, and no word of the content."""

import pickle
import re
import sys
import threading

import pytest
from waiting import Clock

from rankgate import Policy, Reranker
from rankgate.decide.floor import Floor
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.relevance import RelevanceModel
from rankgate.errors import ConfigError, MissingExtraError, ScorerError
from rankgate.scorers import ScorerInfo
from rankgate.scorers.wrappers import Breaker, PrometheusMetrics, Timed
from rankgate.testing import FailingScorer, FakeScorer, candidates_of
from rankgate.types import FirstStageKind


class Takes:
    """Takes so many seconds of the clock a call."""

    info = ScorerInfo(id="takes", scale="s")

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, list(seconds)

    def score(self, query, texts, context=None):
        self.clock.now += self.seconds.pop(0)
        return FakeScorer().score(query, texts)


def test_percentiles_are_durations_that_occurred():
    clock = Clock()
    timed = Timed(Takes(clock, [i / 1000 for i in range(100, 0, -1)]), clock=clock)
    for _ in range(100):
        timed.score("q", ["x"])
    summary = timed.summary()
    assert summary.calls == summary.window == 100 and summary.failures == 0
    assert (summary.p50_ms, summary.p95_ms, summary.p99_ms) == pytest.approx((50, 95, 99))


def test_before_the_first_call_there_is_nothing_and_after_it_one_number():
    clock = Clock()
    timed = Timed(Takes(clock, [0.25]), clock=clock)
    assert timed.summary().p50_ms is None and timed.summary().calls == 0
    timed.score("q", ["x"])
    summary = timed.summary()
    assert summary.p50_ms == summary.p99_ms == 250.0


def test_only_the_latest_calls_count():
    clock = Clock()
    timed = Timed(Takes(clock, [9.0, 0.5, 0.5]), window=2, clock=clock)
    for _ in range(3):
        timed.score("q", ["x"])
    assert timed.summary().p99_ms == 500.0
    assert (timed.summary().calls, timed.summary().window) == (3, 2)
    with pytest.raises(ConfigError):
        Timed(FakeScorer(), window=0)


async def test_failures_are_timed_too_and_async_counts_alike():
    timed = Timed(FailingScorer(ScorerError("down"), times=2))
    with pytest.raises(ScorerError):
        timed.score("q", ["x"])
    with pytest.raises(ScorerError):
        await timed.ascore("q", ["x"])
    assert (await timed.ascore("red", ["red"])).values[0] == 1.0
    assert (timed.summary().calls, timed.summary().failures) == (3, 2)


def test_many_threads_lose_no_call():
    timed = Timed(FakeScorer(), window=10_000)
    threads = [
        threading.Thread(target=lambda: [timed.score("q", ["x"]) for _ in range(50)])
        for _ in range(16)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert timed.summary().calls == timed.summary().window == 800


def test_a_pickled_copy_starts_empty():
    timed = Timed(Unpickled(), window=7, stage="rerank")
    timed.score("q", ["x"])
    copy = pickle.loads(pickle.dumps(timed))
    assert copy.summary().calls == 0
    copy.score("q", ["x"])
    assert copy.summary().calls == 1


class Unpickled:
    info = ScorerInfo(id="u", scale="s")

    def score(self, query, texts, context=None):
        return FakeScorer().score(query, texts)


def value(metrics, name, **labels):
    found = metrics.registry.get_sample_value(name, labels)
    return 0.0 if found is None else found


NAMES = {
    "rankgate_stage_duration_seconds": "histogram",
    "rankgate_rerank_skipped_total": "counter",
    "rankgate_degraded_total": "counter",
    "rankgate_abstained_total": "counter",
    "rankgate_breaker_state": "gauge",
}


def test_names_types_and_labels_are_the_documented_ones():
    metrics = PrometheusMetrics()
    Timed(FakeScorer(), metrics=metrics).score("q", ["x"])
    text = metrics.exposition().decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    documented = {n: t for n, t in types.items() if not n.endswith("_created")}
    assert documented == NAMES
    assert value(metrics, "rankgate_stage_duration_seconds_count", stage="scorer") == 1.0


def policy(**floor):
    platt = Logistic(features=(Feature(name="raw", weight=10.0),), intercept=-5.0)
    plain = Logistic(features=(Feature(name="reciprocal_rank", weight=0.0),), intercept=-3.0)
    return Policy.unfitted().with_section(
        FirstStageKind.ORDER,
        reranked=RelevanceModel(model=platt, scale="fake"),
        first_stage=RelevanceModel(model=plain),
        floor=Floor(**floor),
    )


def test_outcomes_are_counted_by_what_happened():
    metrics = PrometheusMetrics()
    candidates = candidates_of(["cat", "red cat"])
    good = Reranker(FakeScorer(), policy=Policy.unfitted())
    bad = Reranker(FailingScorer(ScorerError("x")), policy=Policy.unfitted())
    metrics.observe_outcome(good.rerank("red cat", candidates))
    metrics.observe_outcome(good.rerank("red cat", candidates_of(["cat"])))
    metrics.observe_outcome(bad.rerank("red cat", candidates))
    floored = Reranker(FakeScorer(), policy=policy(refuse_below=0.5), first_stage="order")
    metrics.observe_outcome(floored.rerank("blue bird", candidates))
    broken = Reranker(
        FailingScorer(ScorerError("x")), policy=policy(refuse_below=0.5), first_stage="order"
    )
    metrics.observe_outcome(broken.rerank("red cat", candidates))
    assert value(metrics, "rankgate_rerank_skipped_total", reason="single_candidate") == 1.0
    assert value(metrics, "rankgate_degraded_total", reason="scorer_error") == 2.0
    assert value(metrics, "rankgate_abstained_total", reason="below_floor") == 2.0
    for stage in ("signals", "gate", "order", "total"):
        assert value(metrics, "rankgate_stage_duration_seconds_count", stage=stage) == 5.0
    assert value(metrics, "rankgate_stage_duration_seconds_count", stage="score") == 4.0
    assert value(metrics, "rankgate_stage_duration_seconds_sum", stage="total") < 5.0  # seconds


def test_no_word_of_query_or_text_gets_into_the_metrics():
    metrics = PrometheusMetrics()
    scorer = Timed(FailingScorer(ScorerError("failed on zebra")), metrics=metrics)
    outcome = Reranker(scorer, policy=Policy.unfitted()).rerank(
        "zebra secret", candidates_of(["zebra text", "other text"])
    )
    metrics.observe_outcome(outcome)
    text = metrics.exposition().decode()
    assert "zebra" not in text and "secret" not in text and "text" not in text.split("# HELP")[0]
    assert 'reason="scorer_error"' in text


def test_a_breakers_state_is_read_when_it_is_collected():
    clock = Clock()
    breaker = Breaker(FailingScorer(ScorerError("x"), times=1), min_calls=1, window=1, clock=clock)
    metrics = PrometheusMetrics()
    assert value(metrics, "rankgate_breaker_state") == 0.0
    metrics.watch_breaker(breaker)
    with pytest.raises(ScorerError):
        breaker.score("q", ["x"])
    assert value(metrics, "rankgate_breaker_state") == 2.0
    clock.now += 30
    assert value(metrics, "rankgate_breaker_state") == 1.0
    breaker.score("q", ["x"])
    assert value(metrics, "rankgate_breaker_state") == 0.0


def test_two_objects_do_not_collide_and_a_given_registry_is_used():
    from prometheus_client import CollectorRegistry

    PrometheusMetrics()
    PrometheusMetrics()
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    assert metrics.registry is registry
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusMetrics(registry)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"rankgate\[metrics\]"):
        PrometheusMetrics()
    assert Timed(FakeScorer()).score("red", ["red"]).values[0] == 1.0
