"""Non-inferiority against an earlier result: what a continuous integration asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from rankgate.errors import InputError
from rankgate_eval.result.parts import Change
from rankgate_eval.result.result import Result
from rankgate_eval.result.rows import QueryRow
from rankgate_eval.stats.intervals import least_mean
from rankgate_eval.stats.significance import compare
from rankgate_eval.verdict.sections import change

_MARGIN = 0.02
_EXIT_CODES = {"pass": 0, "fail": 1, "not_enough_data": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMove:
    """A query whose primary metrics changed.

    Attributes:
        before, after: metric to value.
    """

    query_id: str
    query: str
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Whether the policy is as good as it was.

    Attributes:
        outcome: `pass`: a loss of the margin or more is excluded in both metrics. `fail`: one
            of them is worse beyond chance, and the margin is not excluded. `not_enough_data`:
            neither.
        reasons: a sentence for each metric, the deciding ones first.
        widened: whether it is more than the usual 0.02, because so few queries exclude no less.
        changes: metric to change, after minus baseline.
        moved: queries that changed, greatest loss of nDCG@10 first.
        gone: ids of queries that only the baseline has.
        new: ids of queries that only the new result has.
        warnings: what differs between the two beside the ranking.
    """

    outcome: str
    reasons: tuple[str, ...]
    margin: float
    widened: bool
    n: int
    clusters: int
    changes: Mapping[str, Change]
    moved: tuple[QueryMove, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    warnings: tuple[str, ...]
    result: Result

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 not enough data."""
        return _EXIT_CODES[self.outcome]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; the new result stands under `result`."""
        return {
            "format": "rankgate-eval-check",
            "version": 1,
            **{
                name: to_jsonable_python(getattr(self, name))
                for name in self.__dataclass_fields__
                if name != "result"
            },
            "result": self.result.to_dict(),
        }


def compare_results(
    baseline: Result,
    result: Result,
    *,
    margin: float | None = None,
    alpha: float = 0.05,
    resamples: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
) -> CheckResult:
    """Compare the policy's nDCG@10 and recall@top_n with those of a baseline, query by query.

    Args:
        margin: mean loss that is tolerated in either metric, above 0. None: 0.02, or what as
            many queries without any change exclude, where that is more.
        alpha: intervals are at 1 - alpha.

    Raises:
        InputError: no query in common, another top_n, or a margin that is not above 0.
    """
    if margin is not None and not margin > 0.0:
        raise InputError(f"--margin must be above 0, got {margin}")
    if baseline.made.top_n != result.made.top_n:
        raise InputError(
            f"the baseline keeps {baseline.made.top_n} passages and this run "
            f"{result.made.top_n}; their recall cannot be compared. Give --top-n "
            f"{baseline.made.top_n}, or make a new baseline."
        )
    old = {row.query_id: row for row in baseline.per_query}
    asked = in_both(baseline, {row.query_id: row.query for row in result.per_query})
    both = [row for row in result.per_query if row.query_id in asked]
    clusters = [row.group for row in both]
    draws = {"resamples": resamples, "seed": seed}
    least = -least_mean([0.0] * len(both), clusters, level=1.0 - alpha, **draws)
    usual = _MARGIN if margin is None else margin
    if margin is None:
        margin = max(_MARGIN, math.ceil(1000.0 * least + 1e-9) / 1000.0)
    changes: dict[str, Change] = {}
    sentences: list[tuple[int, str]] = []
    for name in result.primary:
        found = compare(
            [old[row.query_id].values["policy"][name] for row in both],
            [row.values["policy"][name] for row in both],
            clusters,
            level=1.0 - alpha,
            permutations=permutations,
            **draws,
        )
        changes[name] = change(found)
        numbers = (
            f"{found.mean:+.4f} ({found.level:.0%} interval {found.low:+.4f} to "
            f"{found.high:+.4f}, at worst {found.least:+.4f})"
        )
        if found.not_worse_than(margin):
            sentences.append((2, f"{name} is not worse by {margin:g} or more: {numbers}."))
        elif found.worse(alpha) or found.worse_than(margin):
            sentences.append((0, f"{name} is worse than the baseline's: {numbers}."))
        else:
            needed = found.needed_for_margin(margin)
            wanted = (
                "No number of queries within reach would tell."
                if needed is None
                else f"About {needed} queries would tell."
            )
            if least >= margin:
                wanted += (
                    f" So few cannot exclude a loss of {margin:g} even where nothing changes; they "
                    f"can exclude one of {math.ceil(1000.0 * least) / 1000.0:g}."
                )
            sentences.append(
                (1, f"Whether {name} is worse by {margin:g} or more is open: {numbers}. {wanted}")
            )
    worst = min(rank for rank, _ in sentences)
    return CheckResult(
        outcome=("fail", "not_enough_data", "pass")[worst],
        reasons=tuple(text for _, text in sorted(sentences, key=lambda pair: pair[0])),
        margin=margin,
        n=len(both),
        clusters=len(set(clusters)),
        widened=margin > usual,
        changes=changes,
        moved=_moved(old, both, result.primary),
        gone=tuple(q for q in old if q not in asked),
        new=tuple(row.query_id for row in result.per_query if row.query_id not in asked),
        warnings=tuple(_differences(baseline, result)),
        result=result,
    )


def in_both(baseline: Result, queries: Mapping[str, str]) -> set[str]:
    """Ids of the queries that the baseline has with the same words.

    Raises:
        InputError: there is none.
    """
    both = {row.query_id for row in baseline.per_query if queries.get(row.query_id) == row.query}
    if not both:
        raise InputError(
            f"the baseline, of {baseline.data.name}, has none of these queries; make a new one "
            "with `rankgate eval DATA --out DIR`, from its result.json"
        )
    return both


def _moved(
    old: Mapping[str, QueryRow], both: Sequence[QueryRow], metrics: Sequence[str]
) -> tuple[QueryMove, ...]:
    found = []
    for position, row in enumerate(both):
        before, after = old[row.query_id].values["policy"], row.values["policy"]
        # Values that were written and read again may differ in their last bit.
        if any(abs(after[name] - before[name]) > 1e-9 for name in metrics):
            gain = after["ndcg@10"] - before["ndcg@10"]
            move = QueryMove(
                query_id=row.query_id, query=row.query, before=dict(before), after=dict(after)
            )
            found.append((gain, position, move))
    return tuple(move for _, _, move in sorted(found, key=lambda entry: entry[:2]))


def _differences(baseline: Result, result: Result) -> list[str]:
    """What else is not as it was: a change of ranking may come from there."""
    pairs = [
        ("queries or judgements", baseline.data.fingerprint, result.data.fingerprint),
        ("scorer", baseline.made.scorer.get("id"), result.made.scorer.get("id")),
        (
            "scorer's weights",
            baseline.made.scorer.get("weights"),
            result.made.scorer.get("weights"),
        ),
        ("policy", baseline.made.policy.sha256, result.made.policy.sha256),
        ("kind of first stage", baseline.made.kind, result.made.kind),
        ("k", baseline.made.k, result.made.k),
    ]
    return [
        f"The {what} changed: {str(before)[:60]} in the baseline, {str(now)[:60]} now."
        for what, before, now in pairs
        if before != now
    ]
