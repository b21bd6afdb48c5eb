"""Refusals by their own rule: right, wrong, or an answer where there is none to give.

They are counted, never averaged into faithfulness: a pipeline that refuses every hard question
would otherwise look faithful.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.bounds import clopper_pearson
from rankgate_eval.answers.questions import Question
from rankgate_eval.answers.sample import Sample

__all__ = ["KINDS", "Refusals", "count_refusals", "kind_of_answer"]

KINDS = (
    "answered",
    "wrong_refusal",
    "right_refusal",
    "answer_to_unanswerable",
    "unknown_answered",
    "unknown_refused",
    "failed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """How one arm refused.

    Attributes:
        counts: kind to number of questions; see `KINDS`. `unknown_*` are questions of which
            nobody knows whether the corpus answers them.
        ids: kind to question ids, of wrong refusals and of answers to unanswerable questions.
    """

    counts: Mapping[str, int]
    ids: Mapping[str, tuple[str, ...]]

    @property
    def answerable(self) -> int:
        """Answerable questions that were answered or refused."""
        return self.counts["answered"] + self.counts["wrong_refusal"]

    @property
    def unanswerable(self) -> int:
        """Unanswerable questions that were answered or refused."""
        return self.counts["right_refusal"] + self.counts["answer_to_unanswerable"]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with exact 95% intervals of the two rates."""
        return {
            **{kind: self.counts[kind] for kind in KINDS},
            "wrong_refusal_rate": _rate(self.counts["wrong_refusal"], self.answerable),
            "right_refusal_rate": _rate(self.counts["right_refusal"], self.unanswerable),
            "ids": {kind: list(ids) for kind, ids in self.ids.items()},
        }


def kind_of_answer(question: Question, sample: Sample) -> str:
    """Which of `KINDS` a sample is."""
    if sample.answer is None:
        return "failed"
    if question.answerable is None:
        return "unknown_refused" if sample.refused else "unknown_answered"
    if question.answerable:
        return "wrong_refusal" if sample.refused else "answered"
    return "right_refusal" if sample.refused else "answer_to_unanswerable"


def count_refusals(questions: Sequence[Question], samples: Mapping[str, Sample]) -> Refusals:
    """Count one arm's samples, by question id."""
    kinds = {q.id: kind_of_answer(q, samples[q.id]) for q in questions}
    told = ("wrong_refusal", "answer_to_unanswerable")
    return Refusals(
        counts={kind: sum(k == kind for k in kinds.values()) for kind in KINDS},
        ids={kind: tuple(q for q, k in kinds.items() if k == kind) for kind in told},
    )


def _rate(count: int, n: int) -> dict[str, Any] | None:
    if n == 0:
        return None
    low, high = clopper_pearson(count, n)
    return {"rate": count / n, "ci": [low, high], "n": n}
