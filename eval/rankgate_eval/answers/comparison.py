"""Two arms' answers compared: pairs, what is missing, intervals, strata, the judge's agreement.

A pair counts only where both sides have a value. What is missing is counted by arm and reason;
a refusal, an unanswerable question and a lacking reference are no loss of data and are counted
apart.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.bounds import clopper_pearson
from rankgate_eval.answers.questions import Question
from rankgate_eval.answers.ragas_metrics import NEEDS_REFERENCE
from rankgate_eval.answers.sample import Sample
from rankgate_eval.stats.significance import Difference, bootstrap_interval, compare
from rankgate_eval.stats.strata import StrataReport, compare_strata, stratify

__all__ = ["Absent", "Pairs", "absent", "agreement", "estimate", "paired", "strata_of"]

_LEVEL = 0.95
_SAME = 0.01  # judgings that differ by less are called equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Why values of one metric are absent in one arm.

    Attributes:
        missing: reason to number of samples that should have a value.
        not_asked: reason to number of samples that need none: `refused`, `unanswerable`,
            `no_reference`, `no_qrels`, `not_measured`.
    """

    missing: Mapping[str, int]
    not_asked: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """One metric of two arms, on the questions that have it in both.

    Attributes:
        questions: their ids.
        before, after: values.
        difference: None where there is no pair.
        changed: pairs whose values differ.
    """

    questions: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    difference: Difference | None

    @property
    def changed(self) -> int:
        """Pairs whose values differ."""
        return sum(a != b for a, b in zip(self.before, self.after, strict=True))


def absent(questions: Sequence[Question], samples: Mapping[str, Sample], metric: str) -> Absent:
    """Count what one arm lacks of a metric."""
    missing: Counter[str] = Counter()
    not_asked: Counter[str] = Counter()
    for question in questions:
        sample = samples[question.id]
        if sample.value(metric) is not None:
            continue
        score = sample.scores.get(metric)
        if sample.answer is None:
            missing[sample.failure] += 1
        elif score is not None:
            missing[score.missing] += 1
        elif sample.refused:
            not_asked["refused"] += 1
        elif question.answerable is False:
            not_asked["unanswerable"] += 1
        elif metric == "context_precision_qrels":
            not_asked["no_qrels"] += 1
        elif not question.references and (metric in NEEDS_REFERENCE or metric in _OF_WORDS):
            not_asked["no_reference"] += 1
        else:
            not_asked["not_measured"] += 1
    return Absent(missing=dict(sorted(missing.items())), not_asked=dict(sorted(not_asked.items())))


_OF_WORDS = frozenset({"containment", "token_f1", "string_similarity"})


def estimate(
    questions: Sequence[Question], samples: Mapping[str, Sample], metric: str, *, seed: int
) -> dict[str, Any] | None:
    """Mean of a metric in one arm with its interval; None where it has no value at all."""
    rows = [(q.cluster, samples[q.id].value(metric)) for q in questions]
    known = [(c, v) for c, v in rows if v is not None]
    if not known:
        return None
    values = [v for _, v in known]
    clusters = [c for c, _ in known]
    several = len(set(clusters)) > 1
    low, high = bootstrap_interval(values, clusters, level=_LEVEL, seed=seed) if several else (0, 0)
    return {
        "mean": statistics.fmean(values),
        "ci": [low, high] if several else None,
        "n": len(values),
    }


def paired(
    questions: Sequence[Question],
    before: Mapping[str, Sample],
    after: Mapping[str, Sample],
    metric: str,
    *,
    seed: int,
) -> Pairs:
    """The pairs of one metric and their difference, clusters resampled."""
    ids: list[str] = []
    old: list[float] = []
    new: list[float] = []
    clusters: list[str] = []
    for question in questions:
        a, b = before[question.id].value(metric), after[question.id].value(metric)
        if a is None or b is None:
            continue
        ids.append(question.id)
        old.append(a)
        new.append(b)
        clusters.append(question.cluster)
    difference = compare(old, new, clusters, level=_LEVEL, seed=seed) if ids else None
    return Pairs(questions=tuple(ids), before=tuple(old), after=tuple(new), difference=difference)


def strata_of(
    questions: Sequence[Question],
    pairs: Pairs,
    *,
    fields: Sequence[str] = (),
    seed: int = 0,
) -> StrataReport | None:
    """One metric's pairs by kind of question; None where there are no pairs."""
    if pairs.difference is None:
        return None
    by_id = {q.id: q for q in questions}
    asked = [by_id[i] for i in pairs.questions]
    columns = {
        name: [None if q.fields.get(name) is None else str(q.fields[name]) for q in asked]
        for name in fields
    }
    strata = stratify([q.text for q in asked], fields=columns)
    return compare_strata(
        pairs.before,
        pairs.after,
        strata,
        pairs.questions,
        [q.cluster for q in asked],
        seed=seed,
    )


def agreement(
    questions: Sequence[Question],
    arms: Mapping[str, Mapping[str, Sample]],
    metric: str,
    *,
    seed: int,
) -> dict[str, Any] | None:
    """How far the judge agrees with itself: all pairs of judgings of one answer, each answer once.

    `same` is the share of answers whose judgings all lie within 0.01 of each other, with an exact
    interval; `mean_difference` the mean absolute difference of two judgings, clusters resampled.
    None where no answer was judged twice.
    """
    differences: list[float] = []
    clusters: list[str] = []
    for question in questions:
        seen: set[frozenset[str]] = set()
        for arm, column in arms.items():
            sample = column[question.id]
            group = frozenset({arm, *sample.shared_with})
            score = sample.scores.get(metric)
            if group in seen or score is None or len(score.values) < 2:
                continue
            seen.add(group)
            pairs = list(itertools.combinations(score.values, 2))
            differences.append(statistics.fmean(abs(a - b) for a, b in pairs))
            clusters.append(question.cluster)
    if not differences:
        return None
    same = sum(d <= _SAME for d in differences)
    low, high = clopper_pearson(same, len(differences))
    several = len(set(clusters)) > 1
    return {
        "n": len(differences),
        "same": same / len(differences),
        "same_ci": [low, high],
        "mean_difference": statistics.fmean(differences),
        "mean_difference_ci": list(bootstrap_interval(differences, clusters, seed=seed))
        if several
        else None,
    }
