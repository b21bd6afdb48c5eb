"""Documents: LangChain's to candidates, and passages back to documents with our metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from langchain_core.documents import Document

from rankgate import Candidate, Outcome, Passage
from rankgate.errors import InputError

__all__ = ["METADATA_KEYS", "annotated", "candidates_from_documents", "documents_from_outcome"]

METADATA_KEYS = (
    "relevance_score",
    "rankgate_dense",
    "rankgate_bm25",
    "rankgate_rank_before",
    "rankgate_rank",
    "rankgate_raw_score",
    "rankgate_outcome",
    "rankgate_reason",
    "rankgate_scorer",
)


def annotated(metadata: Mapping[str, Any], outcome: Outcome, passage: Passage) -> dict[str, Any]:
    """A copy of `metadata` with this pass's scores; those of an earlier pass are gone.

    `relevance_score` is the probability in [0, 1]. A key whose value is not known is absent,
    so that nobody takes a missing probability for a low one.
    """
    kept = {
        key: value
        for key, value in metadata.items()
        if key != "relevance_score" and not key.startswith("rankgate_")
    }
    ours = {
        "relevance_score": passage.relevance_score,
        "rankgate_dense": passage.candidate.dense,
        "rankgate_bm25": passage.candidate.bm25,
        "rankgate_rank_before": passage.candidate.rank,
        "rankgate_rank": passage.rank,
        "rankgate_raw_score": passage.raw_score,
        "rankgate_outcome": outcome.status.value,
        "rankgate_reason": outcome.reason,
        "rankgate_scorer": outcome.scorer.id,
    }
    return {**kept, **{key: value for key, value in ours.items() if value is not None}}


def candidates_from_documents(
    documents: Sequence[Document],
    *,
    dense: Sequence[float] | None = None,
    dense_key: str | None = None,
) -> list[Candidate]:
    """Candidates in the documents' order.

    Args:
        documents: best first.
        dense: their cosines, one each; None where there are none.
        dense_key: metadata key that holds a cosine; a document without it has none.

    Raises:
        InputError: not a `Document`, or no cosine under `dense_key`.
    """
    found = []
    for i, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InputError(
                f"document {i} must be a langchain_core Document, got {type(document).__name__}"
            )
        cosine = None if dense is None else dense[i]
        if dense_key is not None:
            cosine = _cosine_under(dense_key, document, i)
        found.append(
            Candidate(
                id=f"document-{i}" if document.id is None else document.id,
                text=document.page_content,
                rank=i + 1,
                metadata=dict(document.metadata),
                dense=cosine,
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
    outcome: Outcome, documents: Sequence[Document] | None = None
) -> list[Document]:
    """The kept passages as documents, best first; none where the query was refused.

    Args:
        outcome: of candidates in the order of `documents`.
        documents: what the candidates were made from; copied, never changed. None: new
            documents are made from the candidates.
    """
    if documents is None:
        return [
            Document(
                id=p.candidate.id,
                page_content=p.candidate.text,
                metadata=annotated(p.candidate.metadata, outcome, p),
            )
            for p in outcome.kept
        ]
    result = []
    for p in outcome.kept:
        source = documents[p.index]
        result.append(
            source.model_copy(update={"metadata": annotated(source.metadata, outcome, p)})
        )
    return result
