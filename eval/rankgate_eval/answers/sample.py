"""One question in one arm: what was handed over, what was answered, what was said of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rankgate_eval.answers.generator import Answer
from rankgate_eval.answers.questions import AskedQuestion

__all__ = ["KINDS", "Handed", "Sample", "Score", "kind_of_answer"]

KINDS = (
    "answered",
    "wrong_refusal",
    "right_refusal",
    "answer_to_unanswerable",
    "unknown_answered",
    "unknown_refused",
    "failed",
)
"""What may become of a question; `unknown_*` where nobody knows whether the corpus answers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """The passages of one arm for one question, best first.

    Attributes:
        ids: of the passages; with a system that names none, hashes of their texts.
        texts: of the same passages.
        refused: whether the arm refuses the question before any generator is asked.
        path: `first_stage`, `reranked`, `skipped` or `degraded`; `system` for a whole system.
        reason: why it was refused, or why retrieval failed; empty otherwise.
        failed: whether there is nothing to judge because retrieval failed.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    refused: bool = False
    path: str = "first_stage"
    reason: str = ""
    failed: bool = False

    @property
    def same_as(self) -> tuple[bool, bool, tuple[str, ...]]:
        """Equal for arms that a generator cannot tell apart: texts and their order, no more."""
        return self.refused, self.failed, self.texts

    @classmethod
    def of(cls, passages: Iterable[tuple[str, str]], *, path: str = "first_stage") -> Handed:
        """From (id, text) pairs."""
        rows = list(passages)
        return cls(ids=tuple(r[0] for r in rows), texts=tuple(r[1] for r in rows), path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one metric says of one answer.

    Attributes:
        values: one a judging, in [0, 1]; none where it is missing.
        missing: why there is none; empty where there is.
        detail: the same in words.
        ruled: by which rule of ours it was set instead of by the judge; empty otherwise.
        clipped: judgings whose cosine was negative, and counted as 0.
    """

    values: tuple[float, ...] = ()
    missing: str = ""
    detail: str = ""
    ruled: str = ""
    clipped: int = 0

    @property
    def value(self) -> float | None:
        """Mean of the judgings; None where it is missing."""
        return math.fsum(self.values) / len(self.values) if self.values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What became of a question in an arm.

    Attributes:
        handed: the passages.
        answer: None where there is none.
        failure: why there is none; empty where there is.
        detail: the same in words.
        scores: metric to score, of answers that are judged: refusals, and answers to questions
            that the corpus does not answer, are counted instead.
        shared_with: other arms that handed over the same, so that this sample is theirs too.
    """

    handed: Handed
    answer: Answer | None = None
    failure: str = ""
    detail: str = ""
    scores: Mapping[str, Score] = field(default_factory=dict)
    shared_with: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the question was refused, by the arm or by the generator."""
        return self.answer is not None and self.answer.refused

    def value(self, metric: str) -> float | None:
        """A metric's value; None where there is none, for whatever reason."""
        score = self.scores.get(metric)
        return None if score is None else score.value


def kind_of_answer(question: AskedQuestion, sample: Sample) -> str:
    """Which of `KINDS` a sample is."""
    if sample.answer is None:
        return "failed"
    if question.answerable is None:
        return "unknown_refused" if sample.refused else "unknown_answered"
    if question.answerable:
        return "wrong_refusal" if sample.refused else "answered"
    return "right_refusal" if sample.refused else "answer_to_unanswerable"
