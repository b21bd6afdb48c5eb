"""The result of an end-to-end evaluation: its section, made of samples, its frames, its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankgate.errors import InputError, MissingExtraError
from rankgate.texts import whole_file
from rankgate_eval.answers import comparison
from rankgate_eval.answers.changed import changed_contexts, tally
from rankgate_eval.answers.keyless import KEYLESS_METRICS
from rankgate_eval.answers.questions import AskedQuestion, Sample, kind_of_answer
from rankgate_eval.answers.verdict import AnswerStandards, decide
from rankgate_eval.result.call import Call

_KEYLESS_NOTE = (
    "No language model judged anything here: answers are compared with reference answers word by "
    "word, and passages with the data set's judgements."
)
_LOCAL_NOTE = (
    "The answers were judged on this machine, by rankgate's own small model: local_faithfulness "
    "is not Ragas' faithfulness, and the two may not be compared. How far it agrees with people "
    "stands in docs/local-judge.md."
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
        extractive: whether the answers were quoted word for word.
        notes: of the judge.
        unfair: why the questions are no fair test of the policy; None: they are.
    """

    judged: tuple[str, ...] = ()
    before: str = "first_stage"
    after: str = "policy"
    fields: tuple[str, ...] = ()
    seed: int = 0
    standards: AnswerStandards | None = None
    extractive: bool = False
    notes: tuple[str, ...] = ()
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
        if judged:
            return judged
        local = ("local_faithfulness",) if self.local else ()
        return ("containment", "token_f1", *local)

    @property
    def local(self) -> bool:
        """Whether the judge is the one of this machine."""
        return "local_faithfulness" in self.judged

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
        "name": _name(wanted),
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


def _name(wanted: Comparison) -> str:
    if wanted.local:
        return "end_to_end_local"
    return "end_to_end" if wanted.judged else "end_to_end_keyless"


def _notes(
    questions: Sequence[AskedQuestion],
    samples: Mapping[str, Mapping[str, Sample]],
    wanted: Comparison,
) -> list[str]:
    notes = [] if wanted.judged else [_KEYLESS_NOTE]
    if wanted.local:
        notes = [_LOCAL_NOTE, *wanted.notes]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """What the evaluation found.

    Attributes:
        section: plain data; see `to_dict`.
        samples: arm to question id to what became of it.
    """

    section: Mapping[str, Any]
    questions: Sequence[AskedQuestion]
    samples: Mapping[str, Mapping[str, Sample]]

    @property
    def verdict(self) -> str:
        """Ship, ship_behind_gate, dont_ship, not_enough_data or not_a_fair_test."""
        return str(self.section["verdict"])

    @property
    def exit_code(self) -> int:
        """Of the command: 0 ship (also behind the gate), 1 don't, 3 not enough data, 4 unfair."""
        return Call(self.verdict).exit_code

    def to_dict(self) -> dict[str, Any]:
        """The section that belongs into a result under `end_to_end`."""
        return dict(self.section)

    def to_rows(self) -> list[dict[str, Any]]:
        """One row a question and arm, with everything that was handed over, said and judged."""
        rows = []
        for question in self.questions:
            for arm, column in self.samples.items():
                sample = column[question.id]
                answer = sample.answer
                rows.append(
                    {
                        "query_id": question.id,
                        "query": question.text,
                        "group": question.cluster,
                        "answerable": question.answerable,
                        "arm": arm,
                        "path": sample.handed.path,
                        "passages": list(sample.handed.ids),
                        "contexts": list(sample.handed.texts),
                        "answer": None if answer is None else answer.text,
                        "kind": kind_of_answer(question, sample),
                        "failure": sample.failure,
                        "detail": sample.detail,
                        "shared_with": list(sample.shared_with),
                        "scores": {m: s.value for m, s in sample.scores.items()},
                        "judgings": {m: list(s.values) for m, s in sample.scores.items()},
                        "missing": {m: s.missing for m, s in sample.scores.items() if s.missing},
                    }
                )
        return rows

    def to_frame(self) -> Any:
        """The rows as a pandas frame, each metric a column.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = _pandas()
        rows = []
        for row in self.to_rows():
            scores = row.pop("scores")
            del row["judgings"], row["missing"]
            rows.append({**row, **scores})
        return pandas.DataFrame(rows)

    def table(self) -> Any:
        """Arms by metrics as a pandas frame: mean, interval, n and missing.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        rows = []
        for arm, metrics in self.section["arms"].items():
            for metric, found in metrics.items():
                low, high = (None, None) if found["ci"] is None else found["ci"]
                rows.append(
                    {
                        "arm": arm,
                        "metric": metric,
                        "mean": found["mean"],
                        "low": low,
                        "high": high,
                        "n": found["n"],
                        "missing": found["missing"],
                    }
                )
        return _pandas().DataFrame(rows).set_index(["metric", "arm"])

    def save(self, folder: str | Path) -> list[Path]:
        """Write end_to_end.json, end_to_end.md and samples.jsonl, each whole or not at all."""
        from rankgate_eval.report.answers_markdown import answers_markdown

        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.to_rows())
        texts = {
            "end_to_end.json": json.dumps(
                self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False
            )
            + "\n",
            "end_to_end.md": "\n\n".join(
                ["# Did the answers get better?", *answers_markdown(self.section)]
            )
            + "\n",
            "samples.jsonl": rows,
        }
        for name, text in texts.items():
            with whole_file(out / name) as part:
                part.write_text(text, "utf-8", errors="backslashreplace")
        return [out / name for name in texts]


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as exc:
        raise MissingExtraError("a result as a frame", "e2e") from exc
    return pandas
