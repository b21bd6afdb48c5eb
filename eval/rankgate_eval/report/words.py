"""What the report says in words: the verdict, two sentences for whoever decides, definitions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rankgate_eval.report.numbers import (
    count_noun,
    milliseconds,
    percent,
    score,
    signed,
    signed_interval,
)
from rankgate_eval.result.parts import Change
from rankgate_eval.result.result import BASELINES, Result

VERDICTS = {
    "ship": "Ship",
    "ship_behind_gate": "Ship behind the gate",
    "dont_ship": "Don't ship",
    "not_enough_data": "Not enough data",
    "not_a_fair_test": "Not a fair test",
}
ARM_NAMES = {
    "first_stage": "First stage",
    "tuned_first_stage": "Tuned first stage",
    "skipped": "Policy, all skipped",
    "rerank": "Always rerank",
    "policy": "Policy",
}
ARM_WORDS = {
    "first_stage": "the order in which retrieval gave the candidates",
    "tuned_first_stage": "the same candidates by their own scores refitted, no reranker",
    "skipped": "the policy as it orders without the second stage, floor and all",
    "rerank": "the second stage reads every query",
    "policy": "the second stage behind its gate, as it would ship",
}
_SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-Z])")
_METRICS = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP"}

DEFINITIONS = (
    (
        "nDCG@10",
        "Quality of the order of the first ten, 0 to 1: a relevant passage counts the more the "
        "higher it stands.",
    ),
    ("recall@k", "Share of a query's relevant passages that stand among the first k."),
    ("precision@k", "Share of the first k that is relevant."),
    ("MRR@10", "One over the rank of the first relevant passage; 0 where none is in the first 10."),
    ("MAP", "Mean over the relevant passages of the precision at their rank."),
    ("judged@10", "Share of the first ten that anybody judged; it says nothing of quality."),
    (
        "Baseline",
        "The strongest order without a scorer, so that neither better weights nor the policy's "
        "own floor and features are credited to the reranker: the tuned first stage, fitted on "
        "the other folds than those it is measured on, or the policy with everything skipped.",
    ),
    ("False refusal", "An answerable question that gets nothing. In every metric it counts 0."),
    ("False answer", "An unanswerable question that gets something."),
    (
        "Headroom",
        "What a perfect reranker could add: best possible recall of the kept passages within the "
        "candidates, minus that of the first stage.",
    ),
    ("Precision gap", "nDCG@10 of always reranking minus that of the first stage."),
    ("Inversion", "A relevant passage inside the kept ones before, outside them after."),
    ("Lift", "A relevant passage outside the kept ones before, inside them after."),
    (
        "Interval",
        "95%, from a bootstrap over document groups, since queries about one document succeed "
        "and fail together. Rates have exact binomial intervals.",
    ),
    ("p", "Two-sided sign-flip permutation test over document groups; never 0."),
    ("Adjusted p", "By Holm over all strata tested, so that many looks do not make a finding."),
    (
        "Brier skill",
        "1 is perfect, 0 is no better than always saying the base rate, below 0 is worse.",
    ),
    ("p50, p95, p99", "Time that so many percent of the queries do not exceed."),
)


def arm_name(arm: str) -> str:
    """An arm as a reader calls it."""
    return ARM_NAMES.get(arm, arm)


def comparison_name(key: str) -> str:
    """`policy-first_stage` as `Policy against first stage`."""
    after, _, before = key.partition("-")
    return f"{arm_name(after)} against {_lower(arm_name(before))}" if before else arm_name(after)


def metric_name(metric: str) -> str:
    """`ndcg@10` as `nDCG@10`."""
    name, at, depth = metric.partition("@")
    return f"{_METRICS.get(name, name)}{at}{depth}"


def score_kind(kind: str) -> str:
    """Which score a passage shows."""
    return {"relevance": "p", "fused": "fused", "dense": "dense", "bm25": "BM25"}.get(kind, kind)


def change_words(change: Change) -> str:
    """`+0.053 (95% interval +0.033 to +0.073)`."""
    if change.ci is None:
        return f"{signed(change.mean)} (no interval)"
    return f"{signed(change.mean)} ({change.level:.0%} interval {signed_interval(change.ci)})"


def primary_change(result: Result, metric: str) -> Change | None:
    """Policy minus the strongest order without a scorer; None where it was not measured."""
    return result.differences.get(f"policy-{result.baseline}", {}).get(metric)


def lead(result: Result) -> tuple[str, str]:
    """What was decided and why; what it gains and costs. Made of the result's numbers alone."""
    return _decision(result), _price(result)


def _decision(result: Result) -> str:
    change = primary_change(result, "ndcg@10")
    because = _first(result.reasons)
    if result.verdict == "dont_ship":
        return f"Do not ship this reranker: {because}"
    if result.verdict == "not_enough_data":
        return f"The data do not decide yet: {because}"
    if result.verdict == "not_a_fair_test":
        return f"This is no fair test: {because}"
    what = "Ship the reranker"
    if result.verdict == "ship_behind_gate":
        what = "Ship the reranker behind its gate"
    if change is None:
        return f"{what}: {because}"
    return (
        f"{what}: over {count_noun(change.n, 'judged query', 'judged queries')} it lifts ranking "
        f"quality (nDCG@10, 0 to 1) from {_mean(result, result.baseline)} with "
        f"{BASELINES[result.baseline]} to {_mean(result, 'policy')}, by {change_words(change)}."
    )


def _price(result: Result) -> str:
    parts = []
    change = primary_change(result, "ndcg@10")
    if change is not None and result.verdict in ("dont_ship", "not_enough_data", "not_a_fair_test"):
        parts.append(
            f"nDCG@10 goes from {_mean(result, result.baseline)} with {BASELINES[result.baseline]} "
            f"to {_mean(result, 'policy')}"
        )
    lifts, inversions = result.lifts, result.inversions
    parts.append(
        f"{count_noun(lifts.passages, 'relevant passage')} "
        f"{'enters' if lifts.passages == 1 else 'enter'} the top {lifts.top_n} and "
        f"{inversions.passages:,} {'leaves' if inversions.passages == 1 else 'leave'} it"
    )
    parts.append(_time(result))
    if result.verdict == "not_enough_data" and result.queries_needed is not None:
        needed = f"about {result.queries_needed:,} judged queries like these"
        parts.append(f"{needed} would settle all that is open")
    sentence = "; ".join(parts) + "."
    return sentence[0].upper() + sentence[1:] if not sentence.startswith("nDCG") else sentence


def _time(result: Result) -> str:
    policy, first = (result.arms.get(a) for a in ("policy", "first_stage"))
    ran = f"the gate lets {percent(1.0 - result.skip_rate)} of the queries through"
    if policy is None or policy.latency_ms is None:
        return f"{ran}; its time was not measured"
    now = policy.latency_ms
    before = None if first is None else first.latency_ms
    for name in ("p95", "p50"):
        value = getattr(now, name)
        old = None if before is None else getattr(before, name)
        if value is not None and old is not None:
            kept = _budget(result)
            return f"{ran}, and {name} latency goes from {milliseconds(old)} to " + (
                f"{milliseconds(value)}{kept}"
            )
    return f"{ran}; too few samples for a percentile of its time"


def _budget(result: Result) -> str:
    budget = result.budget
    if budget is None:
        return ""
    limit = f"the budget of {milliseconds(budget.budget_ms)}"
    return {
        "inside": f", inside {limit}",
        "over": f", over {limit}",
    }.get(budget.status, f"; whether that keeps {limit} is open")


def _first(reasons: Sequence[str]) -> str:
    """The deciding reason, its first sentence: what follows it is told elsewhere."""
    if not reasons:
        return "no reason was recorded."
    return _lower(_SENTENCE.split(reasons[0].strip(), maxsplit=1)[0])


def _mean(result: Result, arm: str) -> str:
    found = result.arms.get(arm)
    estimate = None if found is None else found.metrics.get("ndcg@10")
    return score(None if estimate is None else estimate.mean)


def _lower(sentence: str) -> str:
    if len(sentence) > 1 and sentence[1].isupper():  # nDCG@10 ...
        return sentence
    return sentence[:1].lower() + sentence[1:]
