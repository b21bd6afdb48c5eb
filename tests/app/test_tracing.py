"""A question to the server as a tree of spans."""

import ingest_files as files
import pytest
import server_rig as rig
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def spans():
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())  # once a process; it cannot be taken back
    exporter = InMemorySpanExporter()
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter.get_finished_spans
    exporter.shutdown()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_a_chain_over_what_was_done_for_it(tmp_path, spans, stream):
    async with rig.in_process(tmp_path, files) as client:
        with trace.get_tracer("front").start_as_current_span("request") as request:
            asked = {
                "messages": [{"role": "user", "content": "What does the gate decide?"}],
                "stream": stream,
            }
            assert (await client.post("/v1/chat/completions", json=asked)).status_code == 200
    found = {s.name: s for s in spans()}
    chain = found["rankgate.answer"]
    above = {request.get_span_context().span_id}
    above |= {s.context.span_id for n, s in found.items() if n == "fastapi.endpoint"}  # its own
    assert chain.parent.span_id in above
    assert chain.attributes["rankgate.status"] == "answered"
    for name, kind in [
        ("rankgate.retrieve", "RETRIEVER"),
        ("rankgate.rerank", "RERANKER"),
        ("rankgate.generate", "CHAIN"),
    ]:
        assert found[name].parent.span_id == chain.get_span_context().span_id
        assert found[name].attributes["openinference.span.kind"] == kind
    came = found["rankgate.retrieve"].attributes
    read = found["rankgate.rerank"].attributes
    first = "retrieval.documents.0.document.id", "reranker.input_documents.0.document.id"
    assert came[first[0]] == read[first[1]]
    assert not any("gate decides" in str(v) for s in spans() for v in s.attributes.values())
