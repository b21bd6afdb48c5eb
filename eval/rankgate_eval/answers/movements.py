"""What a moved passage did to the answer: the questions whose context changed, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate_eval.answers.questions import Question
from rankgate_eval.answers.refusals import kind_of_answer
from rankgate_eval.answers.sample import Sample
from rankgate_eval.verdict.inversions import find_movements

__all__ = ["Changed", "changed_contexts", "tally"]

_SNIPPET = 240
_RIGHT = {"answered": 1, "right_refusal": 1, "wrong_refusal": 0, "answer_to_unanswerable": 0}
_UNCHANGED = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A question for which two arms handed over different passages.

    Attributes:
        question: which.
        moves: `lift` and `inversion`, as relevant passages came into the context or left it;
            `none` where no relevant one did.
        lifted, lost: ids of those passages.
        before, after: the samples.
        outcome: what happened to the answer: better, worse, same, or unclear where one of both
            has none.
        because: the deciding difference, in words.
    """

    question: Question
    moves: tuple[str, ...]
    lifted: tuple[str, ...]
    lost: tuple[str, ...]
    before: Sample
    after: Sample
    outcome: str
    because: str

    def to_dict(self, arms: tuple[str, str] = ("before", "after")) -> dict[str, Any]:
        """Plain data: both contexts, both answers, both judgements; the arms' names for both."""
        return {
            "query_id": self.question.id,
            "query": self.question.text,
            "kind": self.outcome,
            "references": list(self.question.references),
            "answerable": self.question.answerable,
            "moves": list(self.moves),
            "lifted": list(self.lifted),
            "lost": list(self.lost),
            "because": self.because,
            "before": _side(self.question, self.before, arms[0]),
            "after": _side(self.question, self.after, arms[1]),
        }


def changed_contexts(
    questions: Sequence[Question],
    before: Mapping[str, Sample],
    after: Mapping[str, Sample],
    *,
    metrics: Sequence[str],
    top_n: int | None = None,
) -> list[Changed]:
    """The questions whose context changed, those whose answer suffered first.

    Args:
        questions: in which order.
        before: one arm's samples by question id.
        after: the other's.
        metrics: that tell a better answer from a worse one; the first on which they differ does.
        top_n: passages that the generator sees; None: as many as were handed over.
    """
    moved = [q for q in questions if before[q.id].handed.same_as != after[q.id].handed.same_as]
    found = []
    for question in moved:
        old, new = before[question.id], after[question.id]
        deepest = max(len(old.handed.ids), len(new.handed.ids), 1)
        movements = find_movements(
            {question.id: dict.fromkeys(question.relevant, 1)},
            {question.id: old.handed.ids},
            {question.id: new.handed.ids},
            [question.id],
            top_n=deepest if top_n is None else top_n,
        )
        lifted = tuple(m.passage_id for m in movements.lifts)
        lost = tuple(m.passage_id for m in movements.inversions)
        moves = (*(("inversion",) if lost else ()), *(("lift",) if lifted else ()))
        outcome, because = _outcome(question, old, new, metrics)
        found.append(
            Changed(
                question=question,
                moves=moves if moves else ("none",),
                lifted=lifted,
                lost=lost,
                before=old,
                after=new,
                outcome=outcome,
                because=because,
            )
        )
    place = {"worse": 0, "better": 1, "unclear": 2, "same": 3}
    return sorted(found, key=lambda c: place[c.outcome])


def tally(changed: Sequence[Changed]) -> dict[str, dict[str, int]]:
    """How often each kind of move went with each outcome."""
    outcomes = ("better", "worse", "same", "unclear")
    kinds = {
        "inversion": [c for c in changed if "inversion" in c.moves],
        "lift": [c for c in changed if "lift" in c.moves],
        "none": [c for c in changed if c.moves == ("none",)],
    }
    return {
        kind: {"n": len(rows), **{o: sum(c.outcome == o for c in rows) for o in outcomes}}
        for kind, rows in kinds.items()
    }


def _outcome(
    question: Question, old: Sample, new: Sample, metrics: Sequence[str]
) -> tuple[str, str]:
    """Answering or refusing rightly goes before the metrics."""
    was, now = kind_of_answer(question, old), kind_of_answer(question, new)
    if was in _RIGHT and now in _RIGHT and was != now:
        gained = _RIGHT[now] - _RIGHT[was]
        words = f"{was.replace('_', ' ')} before, {now.replace('_', ' ')} after"
        return ("better" if gained > 0 else "worse"), words
    if old.refused and new.refused:
        return "same", "refused both times"
    alike: list[str] = []
    for metric in metrics:
        a, b = old.value(metric), new.value(metric)
        if a is None or b is None:
            continue
        if abs(b - a) > _UNCHANGED:
            return ("better" if b > a else "worse"), f"{metric} {a:.2f} before, {b:.2f} after"
        alike.append(f"{metric} {a:.2f}")
    if alike:
        return "same", f"{', '.join(alike)} both times"
    return "unclear", f"no pair of {' or '.join(metrics)}"


def _side(question: Question, sample: Sample, arm: str) -> dict[str, Any]:
    relevant = set(question.relevant)
    answer = sample.answer
    return {
        "arm": arm,
        "path": sample.handed.path,
        "kind": kind_of_answer(question, sample),
        "refused": sample.refused,
        "contexts": [
            {"passage_id": i, "snippet": _snippet(t), "relevant": i in relevant}
            for i, t in zip(sample.handed.ids, sample.handed.texts, strict=True)
        ],
        "answer": None if answer is None else answer.text,
        "failure": sample.failure,
        "judgements": {name: score.value for name, score in sample.scores.items()},
    }


def _snippet(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _SNIPPET else plain[: _SNIPPET - 1] + "\u2026"
