"""From samples to the section of the result: every arm, every difference, all that is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.answers import comparison
from rankgate_eval.answers.keyless import KEYLESS_METRICS
from rankgate_eval.answers.movements import changed_contexts, tally
from rankgate_eval.answers.questions import AskedQuestion
from rankgate_eval.answers.sample import Sample
from rankgate_eval.answers.verdict import AnswerStandards, decide

__all__ = ["Comparison", "summarise"]

_KEYLESS_NOTE = (
    "No language model judged anything here: answers are compared with reference answers word by "
    "word, and passages with the data set's judgements."
)
_EXTRACTIVE_NOTE = (
    "The extractive generator quotes its passages word for word, so its answers are faithful by "
    "construction, and no language model was involved in writing them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What to compare, and by what to decide.

    Attributes:
        judged: metrics of the judge; none without one.
        before: the arm that the others are compared with.
        after: the arm that the verdict is about.
        fields: of the questions, as strata.
        seed: of intervals and tests.
        standards: of the verdict.
        extractive: whether the answers were quoted word for word.
        unfair: why the questions are no fair test of the policy; None: they are.
    """

    judged: tuple[str, ...] = ()
    before: str = "first_stage"
    after: str = "policy"
    fields: tuple[str, ...] = ()
    seed: int = 0
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

    def check(self, questions: Sequence[AskedQuestion], arms: Sequence[str]) -> None:
        """Raise where nothing can be compared, however the answers turn out.

        Raises:
            InputError: no questions, an arm is not there, or all that decides compares with
                reference answers, and no question has one.
        """
        if not questions:
            raise InputError("there are no questions to answer")
        for arm in (self.before, self.after):
            if arm not in arms:
                raise InputError(f"no arm {arm!r} among {', '.join(arms)}")
        known = any(q.references and q.answerable is not False for q in questions)
        if not known and all(map(comparison.needs_reference, self.deciding)):
            raise InputError(
                f"{', '.join(self.deciding)} compare an answer with a reference answer, and none "
                f"of the {len(questions)} questions has one, so nothing could be decided. Put "
                "`answer` or `answers` into the rows of the questions, or let a language model "
                "judge what needs no reference: --judge-model with faithfulness or "
                "answer_relevancy among its metrics."
            )


def summarise(
    questions: Sequence[AskedQuestion],
    samples: Mapping[str, Mapping[str, Sample]],
    wanted: Comparison,
    *,
    skip_rate: float = 0.0,
) -> dict[str, Any]:
    """The section `end_to_end` of a result: plain data, the same for the same samples.

    Raises:
        InputError: no questions, or an arm is not among the samples.
    """
    wanted.check(questions, list(samples))
    seed, before = wanted.seed, samples[wanted.before]
    others = {arm: column for arm, column in samples.items() if arm != wanted.before}
    pairs = {
        arm: {
            metric: comparison.paired(questions, before, after, metric, seed=seed)
            for metric in wanted.metrics
        }
        for arm, after in others.items()
    }
    last = pairs[wanted.after]
    # The first deciding metric that tells the arms apart at all: where references are long,
    # nothing ever contains one. Whichever way it moves plays no part.
    primary = min(wanted.deciding, key=lambda m: (not last[m].changed, not last[m].questions))
    wrong = {
        arm: comparison.wrong_refusals(questions, before, after, seed=seed)
        for arm, after in others.items()
    }
    verdict = decide(
        {m: last[m].difference for m in wanted.deciding},
        wrong[wanted.after],
        skip_rate=skip_rate,
        standards=wanted.standards,
        unfair=wanted.unfair if wanted.after == "policy" else None,
    )
    changed = {
        arm: changed_contexts(
            questions, before, after, arms=(wanted.before, arm), metrics=wanted.deciding
        )
        for arm, after in others.items()
    }

    def against(made: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{arm}-{wanted.before}": found for arm, found in made.items()}

    return {
        "name": "end_to_end" if wanted.judged else "end_to_end_keyless",
        "version": 1,
        "verdict": verdict.call.value,
        "reasons": list(verdict.reasons),
        "queries_needed": verdict.queries_needed,
        "n": len(questions),
        "clusters": len({q.cluster for q in questions}),
        "deciding": list(wanted.deciding),
        "primary": primary,
        "notes": _notes(questions, samples, wanted),
        "arms": {
            arm: {m: comparison.measure(questions, column, m, seed=seed) for m in wanted.metrics}
            for arm, column in samples.items()
        },
        "differences": against(
            {
                arm: {
                    metric: comparison.described(found.difference, found.changed)
                    for metric, found in metrics.items()
                    if found.difference is not None
                }
                for arm, metrics in pairs.items()
            }
        ),
        "refusals": {
            arm: comparison.refusals(questions, column) for arm, column in samples.items()
        },
        "refusal_changes": against(
            {
                arm: comparison.refusal_changes(questions, before, after, wrong[arm])
                for arm, after in others.items()
            }
        ),
        "contexts": against(
            {
                arm: {
                    "changed": len(rows),
                    "same": len(questions) - len(rows),
                    "moves": tally(rows),
                }
                for arm, rows in changed.items()
            }
        ),
        "skip_rate": skip_rate,
        "strata": comparison.strata_of(last[primary], primary, fields=wanted.fields, seed=seed),
        "agreement": {
            metric: found
            for metric in wanted.judged
            if (found := comparison.agreement(questions, samples, metric, seed=seed)) is not None
        },
        "changed": changed[wanted.after],
    }


def _notes(
    questions: Sequence[AskedQuestion],
    samples: Mapping[str, Mapping[str, Sample]],
    wanted: Comparison,
) -> list[str]:
    notes = [] if wanted.judged else [_KEYLESS_NOTE]
    if wanted.extractive:
        notes.append(_EXTRACTIVE_NOTE)
    several = sum(len(q.references) > 1 for q in questions)
    if wanted.judged and several:
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
            "are counted (unknown_refused), and called neither right nor wrong."
        )
    return notes
