"""Documents: LangChain's to candidates, and passages back to documents with our metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from langchain_core.documents import Document

from rankgate import Candidate, Outcome, Passage
from rankgate.adapters.annotations import METADATA_KEYS, annotated
from rankgate.adapters.refusal import WhenDegraded, WhenRefused, said, shown
from rankgate.errors import InputError

__all__ = [
    "METADATA_KEYS",
    "annotated",
    "candidates_from_documents",
    "check_documents",
    "document_id",
    "documents_from_outcome",
]


def check_documents(rows: Sequence[Any]) -> None:
    """Raise unless all are documents.

    Raises:
        InputError: one is not.
    """
    for i, row in enumerate(rows):
        if not isinstance(row, Document):
            raise InputError(
                f"document {i} must be a langchain_core Document, got {type(row).__name__}"
            )


def document_id(document: Document) -> str | None:
    """Its id in its store; Qdrant's documents carry it in their metadata."""
    own = document.id
    if own is None and "_collection_name" in document.metadata:
        own = document.metadata.get("_id")
    return None if own is None else str(own)


def candidates_from_documents(
    documents: Sequence[Document],
    *,
    dense: Sequence[float] | None = None,
    dense_key: str | None = None,
    fused: Sequence[float] | None = None,
) -> list[Candidate]:
    """Candidates in the documents' order.

    Args:
        documents: best first.
        dense: their cosines, one each; None where there are none.
        dense_key: metadata key that holds a cosine; a document without it has none.
        fused: their scores in a fusion, one each; None where there was none.

    Raises:
        InputError: not a `Document`, or no cosine under `dense_key`.
    """
    check_documents(documents)
    found = []
    for i, document in enumerate(documents):
        cosine = None if dense is None else dense[i]
        if dense_key is not None:
            cosine = _cosine_under(dense_key, document, i)
        own = document_id(document)
        found.append(
            Candidate(
                id=f"document-{i}" if own is None else own,
                text=document.page_content,
                rank=i + 1,
                metadata=dict(document.metadata),
                dense=cosine,
                fused=None if fused is None else fused[i],
            )
        )
    return found


def _cosine_under(key: str, document: Document, position: int) -> float | None:
    value = document.metadata.get(key)
    if value is None:
        return None
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not -1.0 <= number <= 1.0:  # NaN fails too
        raise InputError(
            f"document {position}: metadata[{key!r}] should be a cosine in [-1, 1], got {value!r}. "
            "A distance or a relevance score of another kind cannot stand in for it."
        )
    return number


def documents_from_outcome(
    outcome: Outcome,
    documents: Sequence[Document] | None = None,
    *,
    extras: Sequence[Mapping[str, Any]] | None = None,
    when_refused: WhenRefused = "empty",
    when_degraded: WhenDegraded = "keep",
) -> list[Document]:
    """The kept passages as documents, best first.

    Args:
        outcome: of candidates in the order of `documents`.
        documents: what the candidates were made from; copied, never changed. None: new
            documents are made from the candidates.
        extras: further keys for each document's metadata, in the same order.
        when_refused: what a refused query gives; see `WhenRefused`. With `say`, nothing found
            is said too.
        when_degraded: what a query gives whose scorer failed; see `WhenDegraded`.

    Raises:
        RefusedError: the query was refused, and `when_refused` is `raise`.
        DegradedError: the outcome is degraded, and `when_degraded` is `raise`.
    """
    result = []
    for p in shown(outcome, when_refused, when_degraded):
        extra = None if extras is None else extras[p.index]
        if documents is None:
            source = _document_of(p)
        else:
            source = documents[p.index]
        metadata = annotated(source.metadata, outcome, p, extra)
        result.append(source.model_copy(update={"metadata": metadata}))
    words = said(outcome, when_refused, empty=not result)
    if words is not None:
        why = {"rankgate_outcome": outcome.status.value, "rankgate_reason": outcome.reason}
        result.insert(0, Document(page_content=words, metadata=why))
    return result


def _document_of(passage: Passage) -> Document:
    candidate = passage.candidate
    return Document(id=candidate.id, page_content=candidate.text, metadata=dict(candidate.metadata))
