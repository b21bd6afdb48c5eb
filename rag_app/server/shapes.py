"""How results look over HTTP: what everybody gets, and what only evaluators get."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from rag_app.generate.answer import Source
from rag_app.markdown_html import answer_html
from rag_app.result import AnswerResult
from rag_app.retrieve import AlsoSearched
from rag_app.server.access import Principal
from rag_app.trace import passage_row
from rankgate.errors import InputError
from rankgate.types import Outcome, Passage

__all__ = ["answer_shape", "document_id", "document_ref", "passage_shape", "source_shape"]

_SCORES = ("dense", "bm25", "fused", "raw_score", "relevance_score", "before", "after", "dropped")


def document_ref(identifier: str) -> str:
    """A document's id as it stands in an address: paths have slashes, this has none."""
    return base64.urlsafe_b64encode(identifier.encode()).decode("ascii").rstrip("=")


def document_id(ref: str) -> str:
    """The inverse of `document_ref`.

    Raises:
        InputError: not made by it.
    """
    try:
        padded = ref + "=" * (-len(ref) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as exc:
        raise InputError(f"{ref!r} is no document; GET /v1/documents lists them") from exc


def source_shape(source: Source, principal: Principal) -> dict[str, Any]:
    """A cited source; its score for evaluators only."""
    shape = source.to_dict()
    shape["document"] = document_ref(shape.pop("document_id"))
    if not principal.evaluator:
        del shape["relevance_score"]
    return shape


def passage_shape(passage: Passage, principal: Principal) -> dict[str, Any]:
    """A passage with its text; its scores and ranks for evaluators only."""
    metadata = passage.candidate.metadata
    shape = passage_row(passage)
    if not principal.evaluator:
        shape = {k: v for k, v in shape.items() if k not in _SCORES}
    shape["document"] = document_ref(str(metadata.get("document_id", "")))
    shape["start"], shape["end"] = metadata.get("start"), metadata.get("end")
    shape["text"] = passage.candidate.text[int(metadata.get("body_offset", 0)) :]
    return shape


def outcome_shape(outcome: Outcome, principal: Principal) -> dict[str, Any]:
    """What the reranker did, as far as a caller may know."""
    shape: dict[str, Any] = {
        "status": outcome.status.value,
        "degraded": outcome.path.value == "degraded",
        # The badge "not reranked" has to say why, to everybody.
        "degraded_reason": outcome.path_reason if outcome.path.value == "degraded" else None,
    }
    if principal.evaluator:
        shape["reason"], shape["detail"] = outcome.reason, outcome.detail
    return shape


def _others(result: AnswerResult) -> tuple[AlsoSearched, ...]:
    searched = result.trace.searched
    return () if searched is None else searched.others


def answer_shape(result: AnswerResult, principal: Principal) -> dict[str, Any]:
    """The extension field `rankgate` of an answer."""
    answer = result.answer
    shape: dict[str, Any] = {
        "status": result.status,
        "answer": None if answer is None else answer.text,
        "html": ""
        if answer is None
        else answer_html(answer.text, cited=[s.number for s in answer.sources]),
        "mode": None if answer is None else answer.mode,
        "sources": [] if answer is None else [source_shape(s, principal) for s in answer.sources],
        "nearest_topics": list(result.nearest_topics),
        "searched_for": result.trace.outcome.query,
        "also_searched": [{"text": a.text, "why": a.why} for a in _others(result)],
        "retrieval": outcome_shape(result.trace.outcome, principal),
        "error": result.error if result.error else None,
    }
    if principal.evaluator:
        shape["trace"] = result.trace.to_dict()
    return shape
