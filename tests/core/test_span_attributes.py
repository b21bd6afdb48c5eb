"""Spans of what was decided, as an OpenTelemetry exporter gets them."""

import threading

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rankgate import Candidate, Reranker
from rankgate.errors import ScorerError
from rankgate.testing import FailingScorer, FakeScorer

TEXTS = ["bread rests", "the gate decides", "ships enter"]
WISH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.fixture(scope="module")
def provider():
    # A process has one, and it cannot be taken back.
    made = TracerProvider()
    trace.set_tracer_provider(made)
    return trace.get_tracer_provider()


@pytest.fixture
def spans(provider):
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter.get_finished_spans
    exporter.shutdown()


def ask(scorer, query="what does the gate decide", **options):
    candidates = [Candidate(id=str(i), text=t, rank=i + 1) for i, t in enumerate(TEXTS)]
    return Reranker(scorer).rerank(query, candidates, **options)


def test_a_reranked_query_is_one_span_with_documents_and_without_texts(spans):
    outcome = ask(FakeScorer(), top_n=2)
    (one,) = spans()
    told = one.attributes
    assert one.name == "rankgate.rerank" and told["openinference.span.kind"] == "RERANKER"
    assert told["gen_ai.operation.name"] == "retrieval"
    assert told["reranker.top_k"] == 2 and told["reranker.model_name"] == outcome.scorer.id
    ids = [told[f"reranker.input_documents.{i}.document.id"] for i in range(3)]
    assert ids == ["0", "1", "2"] and told["rankgate.candidates"] == 3
    kept = [told[f"reranker.output_documents.{i}.document.id"] for i in range(2)]
    assert kept == [p.candidate.id for p in outcome.kept]
    assert told["reranker.output_documents.0.document.score"] == pytest.approx(
        outcome.kept[0].raw_score
    )
    assert "reranker.output_documents.2.document.id" not in told
    assert (told["rankgate.path"], told["rankgate.status"]) == ("reranked", "reranked")
    spent = (one.end_time - one.start_time) / 1e6
    assert spent == pytest.approx(outcome.timings_ms["total"], abs=5.0)
    assert not any("gate decides" in str(v) for v in told.values())
    assert "reranker.query" not in told


@pytest.mark.parametrize(("wish", "there"), [("true", True), ("span_only", True), ("0", False)])
def test_texts_stand_there_where_they_are_wanted(spans, monkeypatch, wish, there):
    monkeypatch.setenv(WISH, wish)
    ask(FakeScorer())
    told = spans()[-1].attributes
    assert (told.get("reranker.query") == "what does the gate decide") is there
    assert (told.get("reranker.input_documents.0.document.content") == "bread rests") is there


def test_a_degraded_query_is_an_error_with_its_reason_and_a_skipped_one_is_none(spans):
    ask(FailingScorer(ScorerError("down")))
    ask(FakeScorer(), force="skip")
    degraded, skipped = spans()
    assert degraded.status.status_code is trace.StatusCode.ERROR
    assert degraded.attributes["rankgate.path"] == "degraded"
    assert skipped.status.status_code is trace.StatusCode.UNSET
    assert skipped.attributes["rankgate.reason"] == "forced"


def test_a_long_list_with_texts_stays_within_a_spans_limit(spans, monkeypatch, caplog):
    monkeypatch.setenv(WISH, "true")
    many = [Candidate(id=f"passage-{i}", text=f"t {i}", rank=i + 1) for i in range(200)]
    Reranker(FakeScorer()).rerank("t 7", many, top_n=100)
    told = spans()[-1].attributes
    assert len(told) < 128 and not caplog.records
    assert told["rankgate.candidates"] == 200 and told["rankgate.kept"] == 100
    assert told["reranker.input_documents.14.document.content"] == "t 14"


def test_the_span_is_below_the_one_that_is_open_also_in_threads_of_their_own(spans):
    with trace.get_tracer("mine").start_as_current_span("request") as request:
        ask(FakeScorer())
    worker = threading.Thread(target=ask, args=(FakeScorer(),))
    worker.start()
    worker.join()
    inner, _, alone = spans()
    assert inner.parent.span_id == request.get_span_context().span_id
    assert alone.parent is None
