"""OpenTelemetry spans of what was decided, in OpenInference's and `gen_ai`'s attributes.

A program that has not set up OpenTelemetry records nothing and needs nothing installed. Texts are
left out unless `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is set, as everywhere in
OpenTelemetry.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from rankgate.outcome import Outcome
from rankgate.types import Candidate, Path

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = [
    "detached",
    "documents",
    "first_score",
    "inside",
    "record_outcome",
    "record_step",
    "span",
    "texts_wanted",
]

# A span keeps 128 attributes unless told otherwise: three of each, in and out, and our own.
_SHOWN = 15
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def texts_wanted() -> bool:
    """Whether questions and passages may stand in spans."""
    wish = os.environ.get(_CONTENT, "").strip().lower()
    return wish not in ("", "0", "false", "no_content")


@contextmanager
def span(name: str, kind: str) -> Iterator[Span | None]:
    """What happens in the block as a span, and the open one for what is recorded in it.

    Args:
        kind: OpenInference's, such as CHAIN or RETRIEVER.

    Yields:
        The span; None where nobody records.
    """
    with detached(name, kind) as opened, inside(opened):
        yield opened


@contextmanager
def detached(name: str, kind: str) -> Iterator[Span | None]:
    """As `span`, but open for what `inside` says alone: a generator's block outlives a step."""
    opened = _start(name, kind)
    try:
        yield opened
    except Exception as exc:
        if opened is not None:
            opened.record_exception(exc)
            opened.set_status(_api().StatusCode.ERROR, type(exc).__name__)
        raise
    finally:
        if opened is not None:
            opened.end()


def inside(opened: Span | None) -> AbstractContextManager[Any]:
    """Makes a span the open one."""
    if opened is None:
        return nullcontext()
    current: AbstractContextManager[Any] = _api().use_span(
        opened, record_exception=False, set_status_on_exception=False
    )
    return current


def record_step(name: str, kind: str, spent_ms: float) -> None:
    """What has just ended, below the open span."""
    opened = _start(name, kind, spent_ms)
    if opened is not None:
        opened.end()


def record_outcome(outcome: Outcome) -> None:
    """One query's reranking, which has just ended, as a span of kind RERANKER."""
    opened = _start("rankgate.rerank", "RERANKER", outcome.timings_ms.get("total", 0.0))
    if opened is None:
        return
    opened.set_attributes(_attributes(outcome, texts=texts_wanted()))
    if outcome.path is Path.DEGRADED:
        opened.set_status(_api().StatusCode.ERROR, outcome.path_reason)
    opened.end()


def documents(stem: str, scored: Iterable[tuple[Candidate, float | None]]) -> dict[str, Any]:
    """The best 15 passages as attributes: id, score, and text where texts are wanted.

    Args:
        stem: OpenInference's list, such as `retrieval.documents`.
    """
    found: dict[str, Any] = {}
    texts = texts_wanted()
    for i, (candidate, score) in enumerate(itertools.islice(scored, _SHOWN)):
        found[f"{stem}.{i}.document.id"] = candidate.id
        if score is not None:
            found[f"{stem}.{i}.document.score"] = float(score)
        if texts:
            found[f"{stem}.{i}.document.content"] = candidate.text
    return found


def first_score(candidate: Candidate) -> float | None:
    """The first stage's, whichever it gave."""
    return candidate.bm25 if candidate.dense is None else candidate.dense


def _attributes(outcome: Outcome, *, texts: bool) -> dict[str, Any]:
    came = sorted((p.candidate for p in outcome.passages), key=lambda c: c.rank)
    kept = (
        (p.candidate, p.raw_score if p.relevance_score is None else p.relevance_score)
        for p in outcome.kept
    )
    found = documents("reranker.input_documents", ((c, first_score(c)) for c in came))
    found |= documents("reranker.output_documents", kept)
    if texts:
        found["reranker.query"] = found["gen_ai.retrieval.query.text"] = outcome.query
    found |= {
        "gen_ai.operation.name": "retrieval",
        "reranker.model_name": outcome.scorer.id,
        "reranker.top_k": outcome.top_n,
        "rankgate.candidates": len(came),
        "rankgate.kept": len(outcome.kept),
        "rankgate.policy": outcome.policy,
        "rankgate.first_stage": outcome.first_stage.value,
        "rankgate.path": outcome.path.value,
        "rankgate.status": outcome.status.value,
        "rankgate.reason": outcome.reason,
        "rankgate.band": "" if outcome.judged_band is None else outcome.judged_band.value,
        "rankgate.notes": list(outcome.notes),
        **{f"rankgate.ms.{step}": spent for step, spent in outcome.timings_ms.items()},
    }
    best = outcome.best_probability
    return found if best is None else {**found, "rankgate.best_probability": best}


def _start(name: str, kind: str, spent_ms: float = 0.0) -> Span | None:
    """A span that began so long ago; None where nobody records."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    begun = time.time_ns() - int(spent_ms * 1e6)
    opened: Span = _api().get_tracer("rankgate").start_span(name, start_time=begun)
    if not opened.is_recording():
        return None
    opened.set_attribute("openinference.span.kind", kind)
    return opened


def _api() -> Any:
    # Whoever records has imported it; everybody else is spared its 50 ms.
    return sys.modules["opentelemetry.trace"]
