"""Facts that HTML and Markdown both show: key figures, strata by dimension, how it was made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rankgate_eval.report.numbers import (
    NOT_MEASURED,
    count_noun,
    milliseconds,
    percent,
    score,
    signed,
    signed_interval,
)
from rankgate_eval.report.safe_text import clip
from rankgate_eval.report.words import metric_name, primary_change
from rankgate_eval.result.parts import Rate, ReliabilityResult, StratumRow
from rankgate_eval.result.result import BASELINES, Result
from rankgate_eval.result.rows import Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the figures under the verdict."""

    name: str
    value: str
    aside: str


def figures(result: Result) -> tuple[Figure, ...]:
    """What is won, what is handed over, both faults of the floor, the gate and the clock."""
    ndcg, recall = (primary_change(result, metric) for metric in result.primary)
    policy = result.arms["policy"]
    kept = policy.metrics.get(result.primary[1])
    found = [
        Figure(
            name=f"nDCG@10 against {BASELINES[result.baseline]}",
            value=NOT_MEASURED if ndcg is None else signed(ndcg.mean),
            aside="" if ndcg is None else f"{signed_interval(ndcg.ci)}, n\xa0=\xa0{ndcg.n:,}",
        ),
        Figure(
            name=f"{metric_name(result.primary[1])} of what is handed over",
            value=NOT_MEASURED if kept is None else score(kept.mean),
            aside=""
            if recall is None
            else f"{signed(recall.mean)} against that baseline, {signed_interval(recall.ci)}",
        ),
        _share("False refusals", policy.false_refusals, "answerable"),
        _share("False answers", policy.false_answers, "unanswerable"),
        Figure(
            name="Queries that skip the reranker",
            value=percent(result.skip_rate),
            aside=f"of {result.n:,}, by the gate",
        ),
    ]
    now, before = policy.latency_ms, result.arms["first_stage"].latency_ms
    which = "p95" if now is not None and now.p95 is not None else "p50"
    value = None if now is None else getattr(now, which)
    old = None if before is None else getattr(before, which)
    found.append(
        Figure(
            name=f"{which} latency",
            value=NOT_MEASURED if now is None else milliseconds(value),
            aside="" if old is None else f"{milliseconds(old)} without the second stage",
        )
    )
    return tuple(found)


def _share(name: str, found: Rate, of: str) -> Figure:
    if found.rate is None or found.ci is None:
        return Figure(name=name, value=NOT_MEASURED, aside=f"the data hold no {of} question")
    low, high = (percent(bound) for bound in found.ci)
    aside = f"{found.count:,} of {found.n:,} {of}, {low} to {high}"
    return Figure(name=name, value=percent(found.rate), aside=aside)


def mixture_sentence(found: ReliabilityResult | None) -> str:
    """Of which traffic the probabilities are judged, and of which they are; "" where unknown."""
    if found is None or found.unanswerable is None:
        return ""
    mixed = f"{percent(found.unanswerable)} of the questions unanswerable"
    alone = "This is of answerable questions alone"
    alone += "" if found.brier_skill is not None else ", of which no skill is told"
    if found.unanswerable > 0.0:
        alone = f"Weighted to {mixed}" if found.claimed is not None else f"Taken with {mixed}"
    if found.claimed is None:
        return f"{alone}. The policy does not say for which share its probabilities were fitted."
    if math.isclose(found.claimed, found.unanswerable, abs_tol=5e-4):
        return f"{alone}: what the policy's probabilities are for."
    told = f"{alone}, while the policy's probabilities are for {percent(found.claimed)}"
    if found.unanswerable > 0.0 or found.expected is None:
        return f"{told}; `rankgate calibrate --prior` fits them for your share."
    e = found.expected
    return (
        f"{told}, and so are lower than what comes true here. Of answerable questions alone its "
        f"calibration predicted {percent(e.predicted)} where {percent(e.observed)} came true "
        f"(n = {e.n:,}); here it predicts {percent(found.predicted)} and "
        f"{percent(found.base_rate)} came true. `rankgate calibrate --prior 0` fits them for "
        "such traffic."
    )


def budget_sentence(result: Result) -> str:
    """The latency budget in a sentence; "" where none was given."""
    budget = result.budget
    if budget is None:
        return ""
    name, limit = f"p{budget.quantile * 100.0:g}", milliseconds(budget.budget_ms)
    if budget.status == "unknown":
        return (
            f"Whether {name} of the policy keeps the budget of {limit} is open: "
            f"{budget.n} samples, {budget.needed} needed."
        )
    seen = "" if budget.observed_ms is None else f": {milliseconds(budget.observed_ms)}"
    word = "inside" if budget.status == "inside" else "over"
    return f"{name} of the policy is {word} the budget of {limit}{seen}, n = {budget.n}."


def grouped_strata(rows: Sequence[StratumRow]) -> tuple[tuple[str, tuple[StratumRow, ...]], ...]:
    """Rows by dimension, each where it first occurs."""
    groups: dict[str, list[StratumRow]] = {}
    for row in rows:
        groups.setdefault(row.dimension, []).append(row)
    return tuple((dimension, tuple(members)) for dimension, members in groups.items())


def sorted_inversions(items: Sequence[Moved]) -> tuple[Moved, ...]:
    """The highest rank lost first, then the deepest fall; ties stay in query order."""
    return tuple(sorted(items, key=lambda m: (_rank(m.before), -_rank(m.after))))


def sorted_lifts(items: Sequence[Moved]) -> tuple[Moved, ...]:
    """The highest rank won first, then the greatest rise."""
    return tuple(sorted(items, key=lambda m: (_rank(m.after), -_rank(m.before))))


def metric_order(result: Result) -> tuple[str, ...]:
    """Every metric that an arm has, the deciding ones first."""
    known = dict.fromkeys(m for arm in result.arms.values() for m in arm.metrics)
    first = [m for m in result.primary if m in known]
    return (*first, *(m for m in known if m not in first))


def arm_faults(result: Result) -> tuple[tuple[str, dict[str, Rate]], ...]:
    """What the floor does wrong, by arm."""
    arms = result.arms.items()
    return (
        ("False refusals", {name: arm.false_refusals for name, arm in arms}),
        ("False answers", {name: arm.false_answers for name, arm in arms}),
    )


def judged_words(count: int) -> str:
    """`1 judged query`, `344 judged queries`."""
    return count_noun(count, "judged query", "judged queries")


def fusion_words(result: Result) -> str:
    """What the tuned first stage chose, fold by fold."""
    if not result.made.fusions:
        return "nothing to tune"
    words = [
        " ".join(
            f"{k.replace('_', ' ')} {v:g}" if isinstance(v, int | float) else str(v)
            for k, v in fusion.items()
        )
        for fusion in result.made.fusions
    ]
    counted = dict.fromkeys(words)
    return "; ".join(f"{w} ({count_noun(words.count(w), 'fold')})" for w in counted)


def made_facts(result: Result) -> tuple[tuple[str, str], ...]:
    """How it was made, as names and values; the command apart."""
    made = result.made
    commit = "not run inside a git tree" if made.commit is None else made.commit
    if made.commit is not None and made.dirty:
        commit += ", with uncommitted changes"
    scorer = ", ".join(f"{k} {v}" for k, v in made.scorer.items() if v not in ("", None))
    facts = (
        ("Date", made.date),
        ("rankgate", f"{made.version}, commit {commit}, Python {made.python}"),
        ("Hardware", made.hardware),
        ("Took", f"{made.seconds:,.1f} s"),
        ("Seed", str(made.seed)),
        ("First stage", f"{made.first_stage} ({made.kind})"),
        ("Tuned first stage", fusion_words(result)),
        ("Candidates", f"{made.k} read, {made.depth} asked for, {made.top_n} kept"),
        ("Scorer", scorer if scorer else "none"),
        (
            "Policy",
            f"{made.policy.name} ({made.policy.source}), section {made.policy.kind}, "
            f"sha256 {made.policy.sha256}",
        ),
        (
            "Statistics",
            f"{made.resamples:,} bootstrap resamples and {made.permutations:,} sign flips, "
            f"{made.folds} folds, in units of document groups",
        ),
        ("Data fingerprint", result.data.fingerprint),
    )
    return tuple((name, clip(value, 600)) for name, value in facts)


def _rank(rank: int | None) -> float:
    return math.inf if rank is None else float(rank)
