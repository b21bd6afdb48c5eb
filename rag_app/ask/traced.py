"""A question's way through the pipeline as spans: a CHAIN over RETRIEVER, RERANKER and LLM."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from rag_app.ask.result import AnswerResult
from rankgate.live.tracing import (
    detached,
    documents,
    first_score,
    inside,
    record_step,
    texts_wanted,
)
from rankgate.types import Candidate

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Events = Generator[str | AnswerResult, None, None]
Stream = Callable[..., Events]


def traced(stream: Stream) -> Stream:
    """`Pipeline.stream` with each of its steps below one span."""

    @functools.wraps(stream)
    def steps(
        self: Any, question: str, **options: Any
    ) -> Generator[str | AnswerResult, None, None]:
        events = stream(self, question, **options)
        with detached("rankgate.answer", "CHAIN") as chain, closing(events):
            while True:
                with inside(chain):
                    event = next(events, None)
                    if isinstance(event, AnswerResult) and chain is not None:
                        _told_result(chain, event)
                if event is None:
                    return
                yield event

    return steps


def told_found(opened: Span | None, query: str, candidates: Sequence[Candidate]) -> None:
    """What the first stage found, as attributes."""
    if opened is None:
        return
    opened.set_attributes(
        documents("retrieval.documents", ((c, first_score(c)) for c in candidates))
    )
    opened.set_attribute("gen_ai.operation.name", "retrieval")
    if texts_wanted():
        opened.set_attributes({"input.value": query, "gen_ai.retrieval.query.text": query})


def _told_result(chain: Span, result: AnswerResult) -> None:
    spent = result.timings_ms.get("generate")
    if spent is not None:
        written = result.answer is not None and result.answer.mode == "extractive"
        record_step("rankgate.generate", "CHAIN" if written else "LLM", spent)
    chain.set_attribute("rankgate.status", result.status)
    if texts_wanted():
        chain.set_attribute("input.value", result.question)
        if result.answer is not None:
            chain.set_attribute("output.value", result.answer.text)
