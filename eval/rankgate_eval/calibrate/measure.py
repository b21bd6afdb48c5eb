"""Numbers about rows that were served: order, gate, floor, reliability, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.bounds import clopper_pearson
from rankgate.live.reliability import measure_reliability, mixture_weights
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import Placed, Served, place_by_first_stage, place_by_scores
from rankgate_eval.stats.intervals import rates_interval
from rankgate_eval.stats.significance import Difference, compare

FloatArray = npt.NDArray[np.float64]


def clusters_of(rows: Sequence[Row]) -> list[str] | None:
    """Document groups; None where there is only one, which says nothing of its own variation."""
    groups = [row.group for row in rows]
    return groups if len(set(groups)) > 1 else None


def compared(
    before: FloatArray, after: FloatArray, rows: Sequence[Row], *, seed: int
) -> Difference:
    """Paired difference by document group."""
    return compare(before, after, clusters_of(rows), seed=seed)


def difference(found: Difference) -> dict[str, Any]:
    """Plain numbers of a difference."""
    return {
        "mean": _round(found.mean),
        "interval": _interval(found.low, found.high),
        "p": _round(found.p),
        "n": found.n,
        "groups": found.clusters,
    }


def share(hits: int, n: int) -> dict[str, Any]:
    """A share with its exact 95% interval; None where nothing was counted."""
    low, high = clopper_pearson(hits, n)
    return {
        "share": _round(hits / n) if n else None,
        "interval": _interval(low, high),
        "count": hits,
        "n": n,
    }


def raw_ndcg10(row: Row) -> float:
    """Of the raw scores' order; of the first stage's where the scorer failed."""
    placed = place_by_scores(row, None)
    return place_by_first_stage(row, None).ndcg10 if placed is None else placed.ndcg10


def brier_gain(
    placed: Sequence[Placed], rows: Sequence[Row], *, seed: int, prior: float | None = None
) -> tuple[Difference, dict[str, Any]] | None:
    """How much better the best passage's probability is than always saying the base rate.

    Where the floor reads it, at the top, on answerable and unanswerable questions alike, but
    without those of the stratum `foreign`, which are too easy; both kinds weighted to the mixture
    that the probabilities are for.

    Returns:
        The paired difference of squared errors (above 0: better), and numbers; None where no
        probability was given.
    """
    used = [
        (p, r)
        for p, r in zip(placed, rows, strict=True)
        if p.best is not None and not r.stratum.startswith("foreign")
    ]
    if not used:
        return None
    p = np.array([p.best for p, _ in used], dtype=np.float64)
    y = np.array(
        [bool(r.relevant[q.order[q.probabilities.argmax()]]) for q, r in used], dtype=np.float64
    )
    # A fold may lack a kind; what it then has is all that can be measured.
    unanswerable = [not r.answerable for _, r in used]
    w = np.ones(len(used))
    if prior is not None and 0 < sum(unanswerable) < len(used):
        w = mixture_weights(unanswerable, prior)
    found = measure_reliability(p, y, weights=w)
    rate = found.base_rate
    gain = compared(w * (p - y) ** 2, w * (rate - y) ** 2, [r for _, r in used], seed=seed)
    return gain, {
        "n": found.n,
        "base_rate": _round(found.base_rate),
        "predicted": _round(found.predicted),
        "brier": _round(found.brier),
        "brier_skill": None if found.brier_skill is None else _round(found.brier_skill),
        "brier_gain": difference(gain),
    }


def separation(served: Sequence[Served], *, seed: int) -> dict[str, Any] | None:
    """Refusal rate of unanswerable questions minus that of answerable ones, with an interval.

    Both kinds are resampled together by document group, and both rates taken anew. None
    where one of them is missing.
    """
    rows = [s for s in served if not s.row.answerable or s.row.found]
    kinds = np.array([s.row.answerable for s in rows], dtype=np.bool_)
    if not rows or kinds.all() or not kinds.any():
        return None
    refused = np.array([not s.answers for s in rows], dtype=np.float64)
    apart = float(refused[~kinds].mean() - refused[kinds].mean())
    groups = [s.row.group for s in rows]
    low, high = rates_interval(refused, list(~kinds), groups, seed=seed)
    return {"mean": _round(apart), "interval": _interval(low, high), "n": len(rows)}


def describe(
    served: Sequence[Served], *, top_n: int, seed: int, prior: float | None = None
) -> dict[str, Any]:
    """Everything that a report says of a policy on rows that it has not seen."""
    paths: dict[str, Callable[[Served], Placed]] = {
        "reranked": lambda s: s.reranked,
        "first_stage": lambda s: s.skipped,
        "served": lambda s: s.placed,
    }
    gains = {
        name: brier_gain([path(s) for s in served], _rows(served), seed=seed, prior=prior)
        for name, path in paths.items()
    }
    answerable = [s for s in served if s.row.answerable]
    rows = [s.row for s in answerable]
    own = np.array([place_by_first_stage(r, None).ndcg10 for r in rows])
    raw = np.array([raw_ndcg10(r) for r in rows])
    always = np.array([s.reranked.ndcg10 for s in answerable])
    never = np.array([s.skipped.ndcg10 for s in answerable])
    policy = np.array([s.placed.ndcg10 for s in answerable])
    skips = [s for s in answerable if s.skips]
    return {
        "order": {
            "n": len(rows),
            "ndcg10": {
                name: _round(float(values.mean()))
                for name, values in (
                    ("first_stage", own),
                    ("raw_order", raw),
                    ("always_reranked", always),
                    ("always_skipped", never),
                    ("policy", policy),
                )
            },
            "reranked_minus_raw": difference(compared(raw, always, rows, seed=seed)),
            "skipped_minus_first_stage": difference(compared(own, never, rows, seed=seed)),
            "policy_minus_first_stage": difference(compared(own, policy, rows, seed=seed)),
        },
        "gate": {
            "skip_rate": share(len(skips), len(answerable)),
            "skip_rate_unanswerable": share(
                sum(s.skips for s in served if not s.row.answerable),
                sum(not s.row.answerable for s in served),
            ),
            "loss": difference(compared(policy, always, rows, seed=seed)),
        },
        "floor": _floor(served, top_n=top_n, seed=seed),
        "probability": {
            name: None if found is None else found[1]
            for name, found in (
                *gains.items(),
                # Traffic that is all answerable is judged against this, not against the mixture.
                ("answerable", brier_gain([s.placed for s in answerable], rows, seed=seed)),
            )
        },
    }


def _rows(served: Sequence[Served]) -> list[Row]:
    return [s.row for s in served]


def _floor(served: Sequence[Served], *, top_n: int, seed: int) -> dict[str, Any]:
    found = [s for s in served if s.row.answerable and s.row.found]
    strata = dict.fromkeys(s.row.stratum for s in served if not s.row.answerable)
    paths: dict[str, Callable[[Served], Placed]] = {
        "served": lambda s: s.placed,
        "reranked": lambda s: s.reranked,
        "skipped": lambda s: s.skipped,
    }
    out: dict[str, Any] = {
        "false_refusals": {
            name: share(sum(not s.answers_on(path(s)) for s in found), len(found))
            for name, path in paths.items()
        },
        "false_refusals_all_answerable": share(
            sum(not s.answers for s in served if s.row.answerable),
            sum(s.row.answerable for s in served),
        ),
        "false_answers": {},
        "separation": separation(served, seed=seed),
    }
    for stratum in strata:
        inside = [s for s in served if s.row.stratum == stratum]
        out["false_answers"][stratum] = {
            name: share(sum(s.answers_on(path(s)) for s in inside), len(inside))
            for name, path in paths.items()
        }
    out["dropped"] = _dropped(found, top_n)
    return out


def _dropped(found: Sequence[Served], top_n: int) -> dict[str, Any] | None:
    """Of the passages that would be handed on, how many `drop_below` takes away."""
    if all(s.floor.drop_below is None for s in found):
        return None
    lost = relevant = gone = irrelevant = 0
    for s in found:
        if not s.answers:
            continue
        m = min(top_n, s.placed.probabilities.size)
        truth = s.row.relevant[s.placed.order[:m]]
        weak = np.array([s.floor.drops(p) for p in s.placed.probabilities[:m].tolist()], dtype=bool)
        lost, relevant = lost + int((weak & truth).sum()), relevant + int(truth.sum())
        gone, irrelevant = gone + int((weak & ~truth).sum()), irrelevant + int((~truth).sum())
    return {"relevant": share(lost, relevant), "irrelevant": share(gone, irrelevant)}


def _round(value: float) -> float:
    return round(float(value), 5)


def _interval(low: float, high: float) -> list[float] | None:
    # One document group gives no interval, and a policy file holds no infinity.
    return [_round(low), _round(high)] if math.isfinite(low) and math.isfinite(high) else None
