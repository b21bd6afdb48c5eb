"""From samples to a verdict: every arm, every difference, everything that is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.answers.comparison import (
    absent,
    agreement,
    estimate,
    paired,
    strata_of,
)
from rankgate_eval.answers.keyless import KEYLESS_METRICS
from rankgate_eval.answers.movements import changed_contexts, tally
from rankgate_eval.answers.questions import Question
from rankgate_eval.answers.refusals import KINDS, count_refusals, kind_of_answer
from rankgate_eval.answers.sample import Sample
from rankgate_eval.answers.verdict import AnswerStandards, decide
from rankgate_eval.stats.significance import Difference, compare, mcnemar_exact
from rankgate_eval.stats.strata import StrataReport

__all__ = ["NAMES", "Plan", "summarise"]

NAMES = {True: "end_to_end", False: "end_to_end_keyless"}
"""The result's name, by whether there was a judge."""

_KEYLESS_NOTE = (
    "No language model judged anything here: answers are compared with reference answers word by "
    "word, and passages with the data set's judgements."
)
_EXTRACTIVE_NOTE = (
    "The extractive generator quotes its passages word for word, so its answers are faithful by "
    "construction, and no language model was involved in writing them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to compare, and by what to decide.

    Attributes:
        judged: metrics of the judge; none without one.
        before: the arm that the others are compared with.
        after: the arm that the verdict is about.
        fields: of the questions, as strata.
        seed: of intervals and tests.
        repeat: judgings of each answer.
        standards: of the verdict.
        extractive: whether the answers were quoted word for word.
        unfair: why the questions are no fair test of the policy; None: they are.
    """

    judged: tuple[str, ...] = ()
    before: str = "first_stage"
    after: str = "policy"
    fields: tuple[str, ...] = ()
    seed: int = 0
    repeat: int = 1
    standards: AnswerStandards | None = None
    extractive: bool = False
    unfair: str | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, the judge's first."""
        return (*self.judged, *KEYLESS_METRICS)

    @property
    def deciding(self) -> tuple[str, ...]:
        """The metrics of the *answers*: those of the contexts are for the ranking's report."""
        wanted = ("factual_correctness", "faithfulness", "answer_relevancy")
        judged = tuple(m for m in wanted if m in self.judged)
        return judged if judged else ("containment", "token_f1")


def summarise(
    questions: Sequence[Question],
    samples: Mapping[str, Mapping[str, Sample]],
    plan: Plan,
    *,
    skip_rate: float = 0.0,
) -> dict[str, Any]:
    """The section `end_to_end` of a result: plain data, the same for the same samples.

    Raises:
        InputError: an arm of the plan is not among the samples, or there are no questions.
    """
    for arm in (plan.before, plan.after):
        if arm not in samples:
            raise InputError(f"no arm {arm!r} among {', '.join(samples)}")
    if not questions:
        raise InputError("there are no questions to answer")
    others = [arm for arm in samples if arm != plan.before]
    pairs = {
        arm: {
            metric: paired(questions, samples[plan.before], samples[arm], metric, seed=plan.seed)
            for metric in plan.metrics
        }
        for arm in others
    }
    deciding = {m: pairs[plan.after][m].difference for m in plan.deciding}
    # The first deciding metric that tells the arms apart at all: where references are long,
    # nothing ever contains one. Whichever way it moves plays no part.
    last = pairs[plan.after]
    ordered = sorted(plan.deciding, key=lambda m: (not last[m].changed, not last[m].questions))
    primary = ordered[0]
    wrong = {arm: _wrong_refusals(questions, samples, plan, arm) for arm in others}
    verdict = decide(
        deciding,
        wrong[plan.after],
        skip_rate=skip_rate,
        standards=plan.standards,
        unfair=plan.unfair if plan.after == "policy" else None,
    )
    changed = {
        arm: changed_contexts(questions, samples[plan.before], samples[arm], metrics=plan.deciding)
        for arm in others
    }
    return {
        "name": NAMES[bool(plan.judged)],
        "version": 1,
        "verdict": verdict.call.value,
        "reasons": list(verdict.reasons),
        "queries_needed": verdict.queries_needed,
        "n": len(questions),
        "clusters": len({q.cluster for q in questions}),
        "deciding": list(plan.deciding),
        "primary": primary,
        "notes": _notes(questions, samples, plan),
        "arms": {arm: _arm(questions, samples[arm], plan) for arm in samples},
        "differences": {
            f"{arm}-{plan.before}": {
                metric: _difference(found.difference, found.changed)
                for metric, found in pairs[arm].items()
                if found.difference is not None
            }
            for arm in others
        },
        "refusals": {arm: count_refusals(questions, samples[arm]).to_dict() for arm in samples},
        "refusal_changes": {
            f"{arm}-{plan.before}": _refusal_change(questions, samples, plan, arm, wrong[arm])
            for arm in others
        },
        "contexts": {
            f"{arm}-{plan.before}": {
                "changed": len(changed[arm]),
                "same": len(questions) - len(changed[arm]),
                "moves": tally(changed[arm]),
            }
            for arm in others
        },
        "skip_rate": skip_rate,
        "strata": _strata(
            strata_of(questions, pairs[plan.after][primary], fields=plan.fields, seed=plan.seed),
            primary,
        ),
        "agreement": {
            metric: found
            for metric in plan.judged
            if (found := agreement(questions, samples, metric, seed=plan.seed)) is not None
        },
        "changed": [c.to_dict((plan.before, plan.after)) for c in changed[plan.after]],
    }


def _arm(
    questions: Sequence[Question], samples: Mapping[str, Sample], plan: Plan
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in plan.metrics:
        measured = estimate(questions, samples, metric, seed=plan.seed)
        gaps = absent(questions, samples, metric)
        base = {"mean": None, "ci": None, "n": 0} if measured is None else measured
        scores = [s.scores[metric] for s in samples.values() if metric in s.scores]
        found[metric] = {
            **base,
            "missing": sum(gaps.missing.values()),
            "missing_reasons": dict(gaps.missing),
            "not_asked": dict(gaps.not_asked),
            "clipped": sum(s.clipped for s in scores),
            "ruled": sum(bool(s.ruled) for s in scores),
        }
    return found


def _difference(difference: Difference | None, changed: int) -> dict[str, Any] | None:
    if difference is None:
        return None
    # With a single cluster the interval is infinite, which JSON has no word for.
    known = difference.clusters > 1
    return {
        "mean": difference.mean,
        "ci": [difference.low, difference.high] if known else None,
        "p": difference.p,
        "n": difference.n,
        "clusters": difference.clusters,
        "changed": changed,
    }


def _wrong_refusals(
    questions: Sequence[Question],
    samples: Mapping[str, Mapping[str, Sample]],
    plan: Plan,
    arm: str,
) -> Difference | None:
    """1 where an answerable question was refused, of those that both arms dealt with."""
    kinds = ("answered", "wrong_refusal")
    rows = [
        (q.cluster, a == "wrong_refusal", b == "wrong_refusal")
        for q in questions
        if (a := kind_of_answer(q, samples[plan.before][q.id])) in kinds
        and (b := kind_of_answer(q, samples[arm][q.id])) in kinds
    ]
    if not rows:
        return None
    return compare(
        [float(r[1]) for r in rows],
        [float(r[2]) for r in rows],
        [r[0] for r in rows],
        seed=plan.seed,
    )


def _refusal_change(
    questions: Sequence[Question],
    samples: Mapping[str, Mapping[str, Sample]],
    plan: Plan,
    arm: str,
    wrong: Difference | None,
) -> dict[str, Any]:
    """How the same questions were dealt with before and after."""
    moves: dict[str, int] = {}
    right: list[tuple[bool, bool]] = []
    for question in questions:
        a = kind_of_answer(question, samples[plan.before][question.id])
        b = kind_of_answer(question, samples[arm][question.id])
        if a != b:
            moves[f"{a} to {b}"] = moves.get(f"{a} to {b}", 0) + 1
        if question.answerable is False and "failed" not in (a, b):
            right.append((a == "right_refusal", b == "right_refusal"))
    test = mcnemar_exact([r[0] for r in right], [r[1] for r in right]) if right else None
    return {
        "wrong_refusals": _difference(
            wrong,
            0 if wrong is None else sum(n for move, n in moves.items() if "wrong_refusal" in move),
        ),
        "right_refusals": None
        if test is None
        else {"only_before": test.only_before, "only_after": test.only_after, "p": test.p},
        "moves": dict(sorted(moves.items())),
    }


def _strata(report: StrataReport | None, metric: str) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "metric": metric,
        "alpha": report.alpha,
        "regressions": [r.key for r in report.regressions],
        "gains": [r.key for r in report.gains],
        "rows": [
            {
                "stratum": r.key,
                "n": r.n,
                "clusters": r.clusters,
                "difference": _difference(r.difference, len(r.losers)),
                "adjusted_p": r.adjusted_p,
                "losers": list(r.losers),
            }
            for r in report.results
        ],
    }


def _notes(
    questions: Sequence[Question], samples: Mapping[str, Mapping[str, Sample]], plan: Plan
) -> list[str]:
    notes = [] if plan.judged else [_KEYLESS_NOTE]
    if plan.extractive:
        notes.append(_EXTRACTIVE_NOTE)
    several = sum(len(q.references) > 1 for q in questions)
    if plan.judged and several:
        notes.append(
            f"{several} questions have several reference answers; the judge compares with the "
            "first one."
        )
    for arm, column in samples.items():
        budget = sum(
            s.failure == "budget" or any(v.missing == "budget" for v in s.scores.values())
            for s in column.values()
        )
        if budget:
            notes.append(
                f"{arm}: the budget ended before {budget} of {len(column)} samples; run the same "
                "command again with a higher --max-cost to finish them."
            )
        clipped = sum(v.clipped for s in column.values() for v in s.scores.values())
        if clipped:
            notes.append(f"{arm}: {clipped} negative answer relevancies were counted as 0.")
        empty = sum(
            any(v.ruled == "empty_contexts" for v in s.scores.values()) for s in column.values()
        )
        if empty:
            notes.append(
                f"{arm}: {empty} answers were given without any passage; their faithfulness, "
                "context precision and context recall are 0 by rule."
            )
    unknown = sum(q.answerable is None for q in questions)
    if unknown:
        notes.append(
            f"Of {unknown} questions nobody knows whether the corpus answers them: their refusals "
            f"are counted ({KINDS[5]}), and called neither right nor wrong."
        )
    return notes
