"""How results look over HTTP: what everybody gets, and what only evaluators get."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from rag_app.ask.result import AnswerResult, passage_row
from rag_app.generate.answer import Source
from rag_app.generate.markdown_html import answer_html
from rag_app.index.records import Passage as StoredPassage
from rag_app.index.records import shown_name
from rag_app.server.keys import Principal
from rankgate.outcome import Outcome
from rankgate.types import Passage

_SCORES = ("dense", "bm25", "fused", "raw_score", "relevance_score", "before", "after", "dropped")
_OF_SENTENCE = ("start", "end", "text")
# Of a kept answer; whatever else stands in it, now or in an older version's, is for evaluators.
_OF_ANSWER = (
    "mode",
    "sources",
    "unsupported",
    "nearest_topics",
    "searched_for",
    "also_searched",
    "error",
)
_OF_OUTCOME = ("status", "degraded", "degraded_reason", "band", "judged")


def document_ref(identifier: str) -> str:
    """A document's id as it stands in an address; nothing of its path can be read from it."""
    return hashlib.sha256(b"rankgate document\n" + identifier.encode()).hexdigest()[:24]


def source_shape(source: Source, name: str, principal: Principal) -> dict[str, Any]:
    """A cited source; its score and the whole path of its file for evaluators only.

    Args:
        name: of its document, relative to the folder that was ingested.
    """
    shape = source.to_dict()
    shape["document"] = document_ref(shape.pop("document_id"))
    if not principal.evaluator:
        del shape["relevance_score"]
        shape["source"] = name
    return shape


def passage_shape(passage: Passage, principal: Principal) -> dict[str, Any]:
    """A passage with its text; its scores, ranks and its file's path for evaluators only."""
    metadata = passage.candidate.metadata
    shape = passage_row(passage)
    if not principal.evaluator:
        shape = {k: v for k, v in shape.items() if k not in _SCORES}
        shape["source"] = _name(passage)
    shape["document"] = document_ref(str(metadata.get("document_id", "")))
    shape["start"], shape["end"] = metadata.get("start"), metadata.get("end")
    shape["text"] = passage.candidate.text[int(metadata.get("body_offset", 0)) :]
    return shape


def _name(passage: Passage) -> str:
    metadata = passage.candidate.metadata
    return shown_name(str(metadata.get("name", "")), str(metadata.get("source", "")))


def outcome_shape(outcome: Outcome, principal: Principal) -> dict[str, Any]:
    """What the reranker did, as far as a caller may know."""
    shape: dict[str, Any] = {
        "status": outcome.status.value,
        "band": outcome.band.value,
        # Without it, nobody has read whether the band is deserved.
        "judged": outcome.judged_band is not None,
        "degraded": outcome.path.value == "degraded",
        # The badge "not reranked" has to say why, to everybody.
        "degraded_reason": outcome.path_reason if outcome.path.value == "degraded" else None,
    }
    if principal.evaluator:
        shape["reason"], shape["detail"] = outcome.reason, outcome.detail
    return shape


def answer_shape(result: AnswerResult, principal: Principal) -> dict[str, Any]:
    """The extension field `rankgate` of an answer."""
    answer = result.answer
    names = {p.candidate.id: _name(p) for p in result.passages}
    shape: dict[str, Any] = {
        "status": result.status,
        "answer": None if answer is None else answer.text,
        "html": ""
        if answer is None
        else answer_html(answer.text, cited=[s.number for s in answer.sources]),
        "mode": None if answer is None else answer.mode,
        "sources": []
        if answer is None
        else [source_shape(s, names.get(s.chunk_id, ""), principal) for s in answer.sources],
        "unsupported": [{k: u[k] for k in _OF_SENTENCE} for u in result.unsupported],
        "nearest_topics": list(result.nearest_topics),
        "searched_for": result.outcome.query,
        "also_searched": [{"text": a.text, "why": a.why} for a in result.searched.others],
        "retrieval": outcome_shape(result.outcome, principal),
        "error": _error(result.error, principal),
    }
    if principal.evaluator:
        shape["trace"] = result.trace()
    return shape


def _error(said: str | None, principal: Principal) -> str | None:
    """Why there is no answer; the language model's address and words for evaluators only."""
    if not said:
        return None
    return said if principal.evaluator else "the answer could not be written"


def kept_shape(
    details: Mapping[str, Any], known: Mapping[str, StoredPassage], principal: Principal
) -> dict[str, Any]:
    """An answer's details as they were kept, as far as the caller may know them today.

    The key may have had another role when it asked, and older versions kept whole paths.

    Args:
        known: the passages of its collection by chunk id; those that are gone are absent.
    """
    shape = dict(details)
    if not principal.evaluator:
        shape = {k: shape[k] for k in _OF_ANSWER if k in shape}
        shape["error"] = _error(shape.get("error"), principal)
        outcome = details.get("retrieval", {})
        shape["retrieval"] = {k: outcome[k] for k in _OF_OUTCOME if k in outcome}
    sources = details.get("sources", ())
    shape["sources"] = [_kept_source(source, known, principal) for source in sources]
    return shape


def _kept_source(
    source: Mapping[str, Any], known: Mapping[str, StoredPassage], principal: Principal
) -> dict[str, Any]:
    shape = dict(source)
    passage = known.get(source.get("chunk_id", ""))
    # Nothing to open where the passage is gone: what the offsets point into has changed, too.
    shape["document"] = None if passage is None else document_ref(passage.document_id)
    if principal.evaluator:
        return shape
    shape.pop("relevance_score", None)
    if passage is None:
        shape["source"] = shown_name("", str(source.get("source", "")))
    else:
        shape["source"] = shown_name(passage.name, passage.source)
    return shape


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        # JSON can write half of a pair; no tokenizer, database or answer can hold it.
        raise ValueError("not valid Unicode: a lone surrogate") from exc
    return value


Text = Annotated[str, AfterValidator(_encodable)]
"""A string that can be encoded, stored and sent back."""


class Lenient(BaseModel):
    """A request of others' making: what it does not know is passed over.

    A null for a field that may be left out means that it is left out, as many clients send it.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        optional = {name for name, field in fields.items() if not field.is_required()}
        return {k: v for k, v in data.items() if v is not None or k not in optional}


class Body(Lenient):
    """A request of ours: what it does not know is an error."""

    model_config = ConfigDict(extra="forbid")
