"""What comes out of the pipeline: status, answer, sources, and the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag_app.ask.searched import Searched
from rag_app.ask.trace import Trace, passage_row
from rag_app.generate.answer import Answer
from rankgate.outcome import Outcome
from rankgate.types import Passage

__all__ = ["AnswerResult", "result_of"]

_TOPICS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerResult:
    """Everything about one answered question.

    Attributes:
        question: as it was asked.
        status: `answered`, `refused`, or `generator_failed`.
        answer: text and sources; None where the generator failed.
        nearest_topics: where the closest passages stand, when there is no answer.
        passages: what the reranker kept, also when the generator failed.
        error: why the generator failed; "" where it did not.
        exit_code: of a generator that failed; 0 otherwise.
        trace: what happened.
    """

    question: str
    status: str
    answer: Answer | None
    nearest_topics: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    error: str = ""
    exit_code: int = 0
    trace: Trace

    @property
    def refused(self) -> bool:
        """Whether the information is not there."""
        return self.status == "refused"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        answer = self.answer
        return {
            "question": self.question,
            "status": self.status,
            "answer": None if answer is None else answer.text,
            "mode": None if answer is None else answer.mode,
            "sources": [] if answer is None else [s.to_dict() for s in answer.sources],
            "passages": [passage_row(p) for p in self.passages],
            "nearest_topics": list(self.nearest_topics),
            "error": self.error if self.error else None,
            "trace": self.trace.to_dict(),
        }


def result_of(
    searched: Searched,
    outcome: Outcome,
    written: Answer | None,
    error: str,
    exit_code: int,
    timings_ms: Mapping[str, float],
) -> AnswerResult:
    """Put a question's result together.

    Args:
        searched: the question, and what was searched for.
        outcome: of the reranker.
        written: the generator's answer; None where it failed.
        error: of the failure; "" without one.
        exit_code: of the failure; 0 without one.
        timings_ms: milliseconds by step.

    """
    if written is None:
        status = "generator_failed"
    else:
        status = "refused" if written.refused else "answered"
    trace = Trace(
        outcome=outcome,
        answer=written,
        error=error,
        timings_ms=timings_ms,
        searched=searched.shown,
    )
    return AnswerResult(
        question=searched.question,
        status=status,
        answer=written,
        nearest_topics=_nearest(outcome) if status == "refused" else (),
        passages=outcome.kept,
        error=error,
        exit_code=exit_code,
        trace=trace,
    )


def _nearest(outcome: Outcome) -> tuple[str, ...]:
    """The distinct headings of the best candidates: what could be asked about instead."""
    found: dict[str, None] = {}
    for passage in outcome.passages:
        metadata = passage.candidate.metadata
        topic = metadata.get("heading") or metadata.get("title") or metadata.get("name")
        if topic:
            found.setdefault(str(topic))
        if len(found) == _TOPICS:
            break
    return tuple(found)
