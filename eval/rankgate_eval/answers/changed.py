"""Questions whose context changed: which passages moved, and what it did to the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rankgate_eval.answers.questions import AskedQuestion, Sample, kind_of_answer
from rankgate_eval.verdict.inversions import find_movements

_SNIPPET = 240
_RIGHT = {"answered": 1, "right_refusal": 1, "wrong_refusal": 0, "answer_to_unanswerable": 0}
_UNCHANGED = 0.01
_OUTCOMES = ("better", "worse", "same", "unclear")


def changed_contexts(
    questions: Sequence[AskedQuestion],
    before: Mapping[str, Sample],
    after: Mapping[str, Sample],
    *,
    arms: tuple[str, str],
    metrics: Sequence[str],
) -> list[dict[str, Any]]:
    """The questions whose context changed, those whose answer suffered first.

    Each as plain data: both contexts, answers and judgements; `moves` (`lift` and `inversion`, as
    relevant passages came into the context or left it; `none` where no relevant one did), with
    the passages `lifted` and `lost`; as `kind` what happened to the answer (better, worse, same,
    or unclear where one of both has none), and `because`, the deciding difference in words.

    Args:
        questions: in which order.
        before: one arm's samples by question id.
        metrics: that tell a better answer from a worse one; the first on which they differ does.
    """
    found = []
    for question in questions:
        old, new = before[question.id], after[question.id]
        if old.handed.same_as == new.handed.same_as:
            continue
        movements = find_movements(
            {question.id: dict.fromkeys(question.relevant, 1)},
            {question.id: old.handed.ids},
            {question.id: new.handed.ids},
            [question.id],
            top_n=max(len(old.handed.ids), len(new.handed.ids), 1),
        )
        lifted = [m.passage_id for m in movements.lifts]
        lost = [m.passage_id for m in movements.inversions]
        moves = [*(["inversion"] if lost else []), *(["lift"] if lifted else [])]
        kind, because = _outcome(question, old, new, metrics)
        found.append(
            {
                "query_id": question.id,
                "query": question.text,
                "kind": kind,
                "references": list(question.references),
                "answerable": question.answerable,
                "moves": moves if moves else ["none"],
                "lifted": lifted,
                "lost": lost,
                "because": because,
                "before": _side(question, old, arms[0]),
                "after": _side(question, new, arms[1]),
            }
        )
    place = {"worse": 0, "better": 1, "unclear": 2, "same": 3}
    return sorted(found, key=lambda row: place[row["kind"]])


def tally(changed: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How often each kind of move went with each outcome."""
    kinds = {
        move: [row for row in changed if move in row["moves"]]
        for move in ("inversion", "lift", "none")
    }
    return {
        move: {"n": len(rows), **{o: sum(r["kind"] == o for r in rows) for o in _OUTCOMES}}
        for move, rows in kinds.items()
    }


def _outcome(
    question: AskedQuestion, old: Sample, new: Sample, metrics: Sequence[str]
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


def _side(question: AskedQuestion, sample: Sample, arm: str) -> dict[str, Any]:
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
