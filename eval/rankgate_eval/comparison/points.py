"""What a comparison of rerankers found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from rankgate_eval.result.call import Call
from rankgate_eval.result.parts import Change, Estimate, LatencyResult, Rate, RecallCurve


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of 1,000 queries; of scoring alone, the first stage is the same everywhere.

    Attributes:
        usd: in the currency of the price; None where nothing is known of it.
        basis: what it was reckoned by, in words; "" where it was not.
        cpu_s: processor seconds of this process, all threads; None for remote scorers.
    """

    usd: float | None
    basis: str
    cpu_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One way to order the candidates.

    Attributes:
        scorer: its name as asked for; "" without one.
        k: candidates read; 0 without a scorer.
        arm: `first_stage`, `tuned_first_stage`, `skipped` (a policy with everything skipped),
            `rerank` (always) or `policy`.
        policy: name of the policy, "" for the first stage alone.
        ndcg: nDCG@10.
        recall: recall@top_n, of what is kept after the floor.
        gain, recall_gain: minus the baseline, with the p of this comparison alone; None without a
            scorer.
        false_refusals: answerable queries that get nothing.
        false_answers: unanswerable queries that get something.
        adjusted_p: of the gain in nDCG@10 over every order without a scorer (the greatest p),
            Holm-adjusted over all points; None without a scorer.
        call: the verdict of `rankgate eval` on this point, reached with `adjusted_p`; None
            without a scorer.
        reason: the first sentence of the verdict.
        skip_rate: share of the queries that took no scoring.
        latency_ms: first stage and all behind it, over the timed queries.
        inside: whether p95 keeps the budget; None where there is none, or too few samples.
        cost: None without a scorer.
    """

    scorer: str
    k: int
    arm: str
    policy: str
    ndcg: Estimate
    recall: Estimate
    false_refusals: Rate
    false_answers: Rate
    gain: Change | None
    recall_gain: Change | None
    adjusted_p: float | None
    call: Call | None
    reason: str
    skip_rate: float
    latency_ms: LatencyResult
    inside: bool | None
    cost: Cost | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two scorers at the same K in the same arm.

    Attributes:
        arm: `rerank` or `policy`.
        change: nDCG@10 of the second minus that of the first.
        adjusted_p: Holm-adjusted over all pairs.
    """

    first: str
    second: str
    k: int
    arm: str
    change: Change
    adjusted_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What `rankgate eval compare` found.

    Attributes:
        baseline: position in `points` of the order without a scorer that has the highest
            nDCG@10. It is made of `baseline_k` candidates, whatever the scorers read.
        baseline_k: the policy's K, or the usual one.
        recall_curve: of the first stage, with its knee.
        points: those without a scorer, then by scorer, K and arm.
        budget_ms: None where none was given.
        best: position of the highest nDCG@10 among the points that may be taken; None where
            there is none.
        taken: position of the point to take; None: take none.
        rule: by which it is taken, in words.
        made: how: command, version, commit, seed, hardware, date, ...
    """

    n: int
    clusters: int
    top_n: int
    baseline: int
    baseline_k: int
    recall_curve: RecallCurve
    points: tuple[Point, ...]
    pairs: tuple[Pair, ...]
    budget_ms: float | None
    best: int | None
    taken: int | None
    rule: str
    sentence: str
    notes: tuple[str, ...]
    made: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain: dict[str, Any] = to_jsonable_python(self)
        return {"format": "rankgate-eval-compare", "version": 1, **plain}
