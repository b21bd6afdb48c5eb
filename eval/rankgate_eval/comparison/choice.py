"""Which reranker to take: tests against what needs none, corrected for how many, and one rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate_eval.comparison.points import Pair, Point
from rankgate_eval.result.call import Call
from rankgate_eval.run.experiment import EvalSettings
from rankgate_eval.stats.significance import compare, holm
from rankgate_eval.verdict.sections import change
from rankgate_eval.verdict.verdict import Over

ARMS: Mapping[str, str] = {
    "first_stage": "the first stage",
    "tuned_first_stage": "the tuned first stage",
    "skipped": "the policy {policy!r} with everything skipped",
    "rerank": "always reranking",
    "policy": "behind its policy {policy!r}",
}
RULE = (
    "Of the points that `rankgate eval` would ship, with p Holm-adjusted over all of them, and "
    "whose nDCG@10 is not lower than that of the best of these by more than the standard error "
    "of their difference: the cheapest where every one has a price, else the fastest; none "
    "where none would ship."
)
SHIPS = (Call.SHIP, Call.SHIP_BEHIND_GATE)
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """(n,) metrics of the same queries, of one point."""

    ndcg: FloatArray
    recall: FloatArray

    def same_as(self, other: Columns) -> bool:
        """Whether no query tells the two apart."""
        return np.array_equal(self.ndcg, other.ndcg) and np.array_equal(self.recall, other.recall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One point against every order without a scorer, in their order.

    Attributes:
        over: differences, with the p of each comparison alone.
        adjusted_p: see `Point`.
    """

    over: tuple[Over, ...]
    adjusted_p: float


def against(
    columns: Sequence[Columns],
    baselines: Sequence[tuple[str, Columns]],
    clusters: Sequence[str],
    asked: EvalSettings,
) -> list[Tested]:
    """Test every point against every baseline; Holm over the points.

    A point must beat each of the baselines, so its p is the greatest (Berger 1982,
    doi:10.1080/00401706.1982.10487790). Points with the same numbers throughout, such as those
    of two K beyond the longest list, are one comparison.
    """
    found = [
        tuple(
            Over(
                name=name,
                ndcg=asked.compare(before.ndcg, after.ndcg, clusters),
                recall=asked.compare(before.recall, after.recall, clusters),
            )
            for name, before in baselines
        )
        for after in columns
    ]
    keys = [c.ndcg.tobytes().hex() for c in columns]
    adjusted = holm({k: max(o.ndcg.p for o in over) for k, over in zip(keys, found, strict=True)})
    return [
        Tested(over=over, adjusted_p=adjusted[key]) for key, over in zip(keys, found, strict=True)
    ]


def pairs_of(
    points: Sequence[Point],
    columns: Sequence[Columns],
    clusters: Sequence[str],
    asked: EvalSettings,
) -> tuple[Pair, ...]:
    """Every two scorers at the same K in the same arm; Holm over all of these pairs."""
    scored = [i for i, p in enumerate(points) if p.scorer]
    both = [
        (i, j)
        for i, j in itertools.combinations(scored, 2)
        if points[i].scorer != points[j].scorer
        and (points[i].k, points[i].arm) == (points[j].k, points[j].arm)
    ]
    names = [(columns[i].ndcg - columns[j].ndcg).tobytes().hex() for i, j in both]
    found = [asked.compare(columns[i].ndcg, columns[j].ndcg, clusters) for i, j in both]
    adjusted = holm({name: d.p for name, d in zip(names, found, strict=True)})
    return tuple(
        Pair(
            first=points[i].scorer,
            second=points[j].scorer,
            k=points[i].k,
            arm=points[i].arm,
            change=change(difference),
            adjusted_p=adjusted[name],
        )
        for (i, j), name, difference in zip(both, names, found, strict=True)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which point to take; see `RULE`.

    Attributes:
        best: position of the highest nDCG@10 among those that ship; None: none ships.
        taken: position of the one to take; None likewise.
        as_good: positions of those that ship and are as good as the best.
        cheapest: whether the price decided among them, and not the time.
    """

    best: int | None = None
    taken: int | None = None
    as_good: tuple[int, ...] = ()
    cheapest: bool = False


def choose(points: Sequence[Point], columns: Sequence[Columns], clusters: Sequence[str]) -> Choice:
    """Apply `RULE`; of equally cheap ones the fastest, of equally fast ones the cheapest."""
    able = [i for i, p in enumerate(points) if p.call in SHIPS]
    if not able:
        return Choice()
    best = max(able, key=lambda i: (points[i].ndcg.mean, -points[i].latency_ms.mean))
    as_good = []
    for i in able:
        # The interval and the p-value are not read, so they may be coarse.
        lost = compare(columns[i].ndcg, columns[best].ndcg, clusters, resamples=100, permutations=1)
        if lost.mean <= (lost.standard_error if math.isfinite(lost.standard_error) else 0.0):
            as_good.append(i)
    usd = {i: cost.usd for i in as_good if (cost := points[i].cost) is not None}
    prices = {i: price for i, price in usd.items() if price is not None}
    cheapest = len(prices) == len(as_good)
    times = {i: points[i].latency_ms.mean for i in as_good}
    first, second = (prices, times) if cheapest else (times, prices)
    return Choice(
        best=best,
        taken=min(as_good, key=lambda i: (first[i], second.get(i, math.inf))),
        as_good=tuple(as_good),
        cheapest=cheapest,
    )


def order_name(arm: str, policy: str) -> str:
    """The arm in words, with its policy."""
    return ARMS[arm].format(policy=policy)


def in_words(point: Point) -> str:
    """`NAME at K = 20, always reranking`, or the arm where there is no scorer."""
    name = order_name(point.arm, point.policy)
    return f"{point.scorer} at K = {point.k}, {name}" if point.scorer else name


def sentence_of(
    choice: Choice, points: Sequence[Point], *, baseline: int, budget_ms: float | None
) -> str:
    """Which to take, or none, and why."""
    base = f"{in_words(points[baseline])} (nDCG@10 {points[baseline].ndcg.mean:.3f})"
    scored = [p for p in points if p.scorer]
    inside = "" if budget_ms is None else f" inside {budget_ms:g} ms at p95"
    if choice.taken is None or choice.best is None:
        top = max(scored, key=lambda p: p.ndcg.mean)
        yet = " yet" if top.call is Call.NOT_ENOUGH_DATA else ""
        return (
            f"Take none{yet}: no reranker is shown to pay{inside} over what needs none, of which "
            f"{base} is the best. Highest of {len(scored)} is {in_words(top)}, nDCG@10 "
            f"{top.ndcg.mean:.3f}. {top.reason}"
        )
    taken, best = points[choice.taken], points[choice.best]
    why = (
        f"of the {len(scored)} that were tried no other pays{inside} and is as good"
        if len(choice.as_good) == 1
        else f"of the {len(choice.as_good)} that pay{inside} and are as good as the best "
        f"({in_words(best)}, nDCG@10 {best.ndcg.mean:.3f}) within one standard error, it is the "
        f"{'cheapest' if choice.cheapest else 'fastest'}"
    )
    return (
        f"Take {in_words(taken)}: {_gain(taken)} over {base}{_spent(taken)}; {why}. The gain of "
        "the best of several is a little too high: confirm it with `rankgate eval` on other "
        "questions."
    )


def _gain(point: Point) -> str:
    gain = point.gain
    if gain is None or point.adjusted_p is None:
        return f"nDCG@10 {point.ndcg.mean:.3f}"
    span = "no interval" if gain.ci is None else f"{gain.ci[0]:+.3f} to {gain.ci[1]:+.3f}"
    return f"nDCG@10 {gain.mean:+.3f} ({span}, Holm-adjusted p = {point.adjusted_p:.4f})"


def _spent(point: Point) -> str:
    p95, cost = point.latency_ms.p95, point.cost
    time = "" if p95 is None else f", {p95:.0f} ms at p95"
    return time + (
        "" if cost is None or cost.usd is None else f", {cost.usd:.3g} USD for 1,000 queries"
    )
