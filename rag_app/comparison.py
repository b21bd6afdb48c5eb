"""One question with and without reranking, on the same candidates."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rag_app.pipeline import Pipeline
from rag_app.result import AnswerResult
from rankgate import Floor, Reranker
from rankgate.errors import InputError
from rankgate.gate import Action
from rankgate.types import Candidate, FirstStageKind

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Three ways with the same candidates.

    Attributes:
        question: in the user's words.
        candidates: of the first stage, best first.
        without: as if the gate had skipped.
        with_reranking: as if it had not.
        policy: what the gate decides.
        retrieve_ms: milliseconds that the candidates took, the same for all.
        floor: what was used.
        k: candidates that the second stage read.
    """

    question: str
    candidates: tuple[Candidate, ...]
    without: AnswerResult
    with_reranking: AnswerResult
    policy: AnswerResult
    retrieve_ms: float
    floor: Floor
    k: int


def compare(
    pipeline: Pipeline,
    question: str,
    *,
    k: int | None = None,
    top_n: int | None = None,
    floor: Floor | None = None,
) -> Comparison:
    """Answer a question with and without reranking.

    Args:
        pipeline: over the collection.
        question: in the user's words.
        k: candidates to read; None: the pipeline's.
        top_n: passages to keep; None: the settings', else the policy's.
        floor: thresholds instead of the policy's; None: the policy's.

    Raises:
        InputError: the question is empty, or k or top_n below 1.
    """
    if not question.strip():
        raise InputError("the question is empty; ask something")
    depth = pipeline.k if k is None else k
    if depth < 1:
        raise InputError(f"k must be at least 1, got {depth}")
    changes: dict[str, Any] = {"k": depth}
    if floor is not None:
        changes["floor"] = floor
    base = pipeline.reranker
    reranker = Reranker(
        base.scorer,
        policy=base.policy.with_section(FirstStageKind.HYBRID, **changes),
        first_stage=FirstStageKind.HYBRID,
        profile=base.profile,
        lexicon=base.lexicon,
    )
    begun = time.perf_counter()
    candidates = tuple(pipeline.first_stage.candidates(question, depth))
    retrieve_ms = (time.perf_counter() - begun) * 1000.0
    wanted = pipeline.settings.top_n if top_n is None else top_n

    def one(force: Action | None) -> AnswerResult:
        outcome = reranker.rerank(question, candidates, wanted, force=force)
        timings = {"retrieve": retrieve_ms, "rerank": outcome.timings_ms["total"]}
        *_, result = pipeline.write(question, outcome, timings_ms=timings)
        if isinstance(result, str):
            raise InputError("the pipeline ended without a result")  # not reached
        return result

    with_reranking, without = one(Action.RERANK), one(Action.SKIP)
    return Comparison(
        question=question,
        candidates=candidates,
        without=without,
        with_reranking=with_reranking,
        policy=one(None),
        retrieve_ms=retrieve_ms,
        floor=reranker.policy.section(FirstStageKind.HYBRID).floor,
        k=depth,
    )
