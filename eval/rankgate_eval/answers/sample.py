"""One question in one arm: what was handed over, what was answered, what was said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankgate_eval.answers.context import Handed
from rankgate_eval.answers.generator import Answer
from rankgate_eval.answers.judge import Score

__all__ = ["Sample"]


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
