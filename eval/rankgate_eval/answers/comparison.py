"""Two arms' answers compared: pairs, gaps, intervals, refusals, strata, moved passages.

All of it is plain data for the result. A pair counts only where both sides have a value. What is
missing is counted by arm and reason; a refusal, an unanswerable question and a lacking reference
are no loss of data and are counted apart. Refusals have their own rule and enter no mean: a
pipeline that refuses every hard question would otherwise look faithful.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.bounds import clopper_pearson
from rankgate_eval.answers.judge import NEEDS_REFERENCE
from rankgate_eval.answers.questions import KINDS, AskedQuestion, Sample, kind_of_answer
from rankgate_eval.stats.intervals import bootstrap_interval
from rankgate_eval.stats.significance import Difference, compare, mcnemar_exact
from rankgate_eval.stats.strata import compare_strata, stratify

_SAME = 0.01  # judgings that differ by less are called equal
_OF_WORDS = frozenset({"containment", "token_f1", "string_similarity"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """One metric of two arms, on the questions that have it in both.

    Attributes:
        difference: None where there is no pair.
    """

    questions: tuple[AskedQuestion, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    difference: Difference | None

    @property
    def changed(self) -> int:
        """Pairs whose values differ."""
        return sum(a != b for a, b in zip(self.before, self.after, strict=True))


def measure(
    questions: Sequence[AskedQuestion], samples: Mapping[str, Sample], metric: str, *, seed: int
) -> dict[str, Any]:
    """Mean of a metric in one arm with its interval, and what it lacks, by reason."""
    known = [(q, v) for q in questions if (v := samples[q.id].value(metric)) is not None]
    values, clusters = [v for _, v in known], [q.cluster for q, _ in known]
    missing: Counter[str] = Counter()
    not_asked: Counter[str] = Counter()
    for question in questions:
        sample = samples[question.id]
        score = sample.scores.get(metric)
        if sample.answer is None:
            missing[sample.failure] += 1
        elif score is None:
            not_asked[_why_not_asked(question, sample, metric)] += 1
        elif score.value is None:
            missing[score.missing] += 1
    scores = [s.scores[metric] for s in samples.values() if metric in s.scores]
    return {
        "mean": statistics.fmean(values) if values else None,
        "ci": _interval(values, clusters, seed),
        "n": len(values),
        "missing": missing.total(),
        "missing_reasons": dict(sorted(missing.items())),
        "not_asked": dict(sorted(not_asked.items())),
        "clipped": sum(s.clipped for s in scores),
        "ruled": sum(bool(s.ruled) for s in scores),
    }


def _why_not_asked(question: AskedQuestion, sample: Sample, metric: str) -> str:
    if sample.refused:
        return "refused"
    if question.answerable is False:
        return "unanswerable"
    if metric == "context_precision_qrels":
        return "no_qrels"
    if not question.references and needs_reference(metric):
        return "no_reference"
    return "not_measured"


def needs_reference(metric: str) -> bool:
    """Whether a metric compares an answer with a reference answer."""
    return metric in NEEDS_REFERENCE or metric in _OF_WORDS


def _interval(values: Sequence[float], clusters: Sequence[str], seed: int) -> list[float] | None:
    """Of the mean, clusters resampled; None with fewer than two clusters."""
    if len(set(clusters)) < 2:
        return None
    return list(bootstrap_interval(values, clusters, seed=seed))


def paired(
    questions: Sequence[AskedQuestion],
    before: Mapping[str, Sample],
    after: Mapping[str, Sample],
    metric: str,
    *,
    seed: int,
) -> Pairs:
    """The pairs of one metric and their difference, clusters resampled."""
    rows = [
        (q, a, b)
        for q in questions
        if (a := before[q.id].value(metric)) is not None
        and (b := after[q.id].value(metric)) is not None
    ]
    old, new = tuple(a for _, a, _ in rows), tuple(b for _, _, b in rows)
    clusters = [q.cluster for q, _, _ in rows]
    difference = compare(old, new, clusters, seed=seed) if rows else None
    return Pairs(
        questions=tuple(q for q, _, _ in rows), before=old, after=new, difference=difference
    )


def described(difference: Difference | None, changed: int) -> dict[str, Any] | None:
    """A difference as plain data."""
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


def refusals(questions: Sequence[AskedQuestion], samples: Mapping[str, Sample]) -> dict[str, Any]:
    """How one arm refused: counts of `KINDS`, two rates with exact intervals, and which."""
    kinds = {q.id: kind_of_answer(q, samples[q.id]) for q in questions}
    counts = Counter(kinds.values())
    told = ("wrong_refusal", "answer_to_unanswerable")
    return {
        **{kind: counts[kind] for kind in KINDS},
        "wrong_refusal_rate": _rate(counts["wrong_refusal"], counts["answered"]),
        "right_refusal_rate": _rate(counts["right_refusal"], counts["answer_to_unanswerable"]),
        "ids": {kind: [q for q, k in kinds.items() if k == kind] for kind in told},
    }


def _rate(count: int, others: int) -> dict[str, Any] | None:
    n = count + others
    if n == 0:
        return None
    return {"rate": count / n, "ci": list(clopper_pearson(count, n)), "n": n}


def wrong_refusals(
    questions: Sequence[AskedQuestion],
    before: Mapping[str, Sample],
    after: Mapping[str, Sample],
    *,
    seed: int,
) -> Difference | None:
    """1 where an answerable question was refused, of those that both arms dealt with."""
    kinds = ("answered", "wrong_refusal")
    rows = [
        (q.cluster, float(a == "wrong_refusal"), float(b == "wrong_refusal"))
        for q in questions
        if (a := kind_of_answer(q, before[q.id])) in kinds
        and (b := kind_of_answer(q, after[q.id])) in kinds
    ]
    if not rows:
        return None
    clusters, old, new = zip(*rows, strict=True)
    return compare(old, new, clusters, seed=seed)


def refusal_changes(
    questions: Sequence[AskedQuestion],
    before: Mapping[str, Sample],
    after: Mapping[str, Sample],
    wrong: Difference | None,
) -> dict[str, Any]:
    """How the same questions were dealt with before and after."""
    pairs = [
        (q, kind_of_answer(q, before[q.id]), kind_of_answer(q, after[q.id])) for q in questions
    ]
    moves = Counter(f"{a} to {b}" for _, a, b in pairs if a != b)
    right = [
        (a == "right_refusal", b == "right_refusal")
        for q, a, b in pairs
        if q.answerable is False and "failed" not in (a, b)
    ]
    test = mcnemar_exact([a for a, _ in right], [b for _, b in right]) if right else None
    changed = sum(n for move, n in moves.items() if "wrong_refusal" in move)
    return {
        "wrong_refusals": described(wrong, changed),
        "right_refusals": None
        if test is None
        else {"only_before": test.only_before, "only_after": test.only_after, "p": test.p},
        "moves": dict(sorted(moves.items())),
    }


def strata_of(
    pairs: Pairs, metric: str, *, fields: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """One metric's pairs by kind of question; None where there are no pairs."""
    if pairs.difference is None:
        return None
    asked = pairs.questions
    columns = {
        name: [None if q.fields.get(name) is None else str(q.fields[name]) for q in asked]
        for name in fields
    }
    report = compare_strata(
        pairs.before,
        pairs.after,
        stratify([q.text for q in asked], fields=columns),
        [q.id for q in asked],
        [q.cluster for q in asked],
        seed=seed,
    )
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
                "difference": described(r.difference, len(r.losers)),
                "adjusted_p": r.adjusted_p,
                "losers": list(r.losers),
            }
            for r in report.results
        ],
    }


def agreement(
    questions: Sequence[AskedQuestion],
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
    return {
        "n": len(differences),
        "same": same / len(differences),
        "same_ci": list(clopper_pearson(same, len(differences))),
        "mean_difference": statistics.fmean(differences),
        "mean_difference_ci": _interval(differences, clusters, seed),
    }
