"""Fits the gate: the probability that skipping costs quality, and how much of it to allow.

Harm is what the reranked order gains over the first stage's in nDCG@10, both as the policy's own
relevance models order. The logistic predicts whether it exceeds `HARM_MARGIN`; its threshold is
set on the mean loss over all queries, in which a query where reranking hurts counts too.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.logistic import Feature, Logistic, sigmoid
from rankgate.decide.signals import LEXICAL_SIGNALS, Signals
from rankgate.errors import InputError
from rankgate_eval.stats.fits import fit_logistic

FloatArray = npt.NDArray[np.float64]

HARM_MARGIN = 0.01
"""nDCG@10 that skipping has to cost before it counts as harm; a swap at ranks 9 and 10 is less."""

GATE_SIGNALS = (
    "dense_top1",
    "dense_margin_12",
    "dense_margin_15",
    "dense_entropy",
    "bm25_margin_12",
    "bm25_margin_15",
    "bm25_entropy",
    "top1_agrees",
    "overlap_10",
    "rank_correlation_10",
    *LEXICAL_SIGNALS,
    "unknown_share",
    "query_words",
    "negation",
    "temporal",
    "conditional",
    "number",
)
"""What the gate may be fitted on. Not remaining_ms and breaker_open: they are not the query's;
not bm25_top1, which grows with the number of words. Those that the candidates' texts give are
for first stages without scores, which know the same better."""

_BINARY = ("top1_agrees", "lexical_top1_agrees", "negation", "temporal", "conditional", "number")
_RARE = 10  # a marker that fewer queries have, or lack, tells nothing yet
_RIDGE = 1.0
_POINTS = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """What a threshold on harm buys.

    Attributes:
        threshold: skip where harm is at or below it.
        skip_rate: share of the queries that are skipped.
        loss: mean nDCG@10 that skipping them costs, over all queries; negative where it gains.
        error: standard error of that mean, by document group.
    """

    threshold: float
    skip_rate: float
    loss: float
    error: float


def gate_signals(signals: Sequence[Signals], *, lexicon: bool) -> tuple[str, ...]:
    """The signals that all of these queries have and that vary between them.

    Args:
        lexicon: whether the product will know the corpus's words; without them
            `unknown_share` is missing there, and a gate that needs it never skips.
    """
    rows = [s.values() for s in signals if s.candidates]
    chosen = []
    scored = any(row["dense_top1"] is not None or row["bm25_top1"] is not None for row in rows)
    for name in GATE_SIGNALS:
        if name in LEXICAL_SIGNALS and scored:
            continue
        if name == "unknown_share" and not lexicon:
            continue
        values = [row[name] for row in rows]
        known = np.array([v for v in values if v is not None], dtype=np.float64)
        if not known.size or known.size < len(values) or float(known.std()) <= 1e-9:
            continue
        if name in _BINARY and min(known.sum(), known.size - known.sum()) < _RARE:
            continue
        chosen.append(name)
    return tuple(chosen)


def fit_harm(signals: Sequence[Signals], loss: FloatArray, names: Sequence[str]) -> Logistic:
    """Ridge logistic for `loss > HARM_MARGIN` over standardised signals.

    Args:
        loss: (n,) nDCG@10 that skipping each of them costs.
        names: as `gate_signals` chose them.

    Raises:
        InputError: no query.
    """
    if not signals:
        raise InputError("a gate is fitted on judged queries, got none")
    y = (loss > HARM_MARGIN).astype(np.float64)
    rate = float((y.sum() + 0.5) / (y.size + 1.0))
    base = float(np.log(rate / (1.0 - rate)))
    values = [s.values() for s in signals]
    columns = {n: _column(values, n) for n in names}
    kept = [n for n, column in columns.items() if float(column.std()) > 1e-9]
    if not kept or y.min() == y.max():
        return Logistic(intercept=base, features=())
    x = np.stack([columns[n] for n in kept], axis=1)
    mean, scale = x.mean(0), x.std(0)
    intercept, weights = fit_logistic(x, y, np.ones(y.size), ridge=_RIDGE / 2.0)
    return Logistic(
        intercept=intercept + float(weights @ mean),
        features=tuple(
            Feature(name=n, weight=float(w * s), mean=float(m), scale=float(s))
            for n, w, m, s in zip(kept, weights, mean, scale, strict=True)
        ),
    )


def harm_of(model: Logistic, signals: Signals) -> float:
    """The gate's probability; 1 where a signal is missing, since the gate then reranks."""
    logit = model.logit(signals.values())
    return 1.0 if logit is None else sigmoid(logit)


def frontier(
    harm: FloatArray, loss: FloatArray, groups: Sequence[Hashable] | None = None
) -> list[FrontierPoint]:
    """Skip rate against loss, for every threshold that changes anything, from skipping none.

    Args:
        harm: (n,) predicted by a gate that has not seen the query.
        loss: (n,) nDCG@10 that skipping costs.
        groups: (n,) document groups; None: every query is its own.
    """
    n = loss.size
    points = [FrontierPoint(threshold=0.0, skip_rate=0.0, loss=0.0, error=0.0)]
    order = np.argsort(harm, kind="stable")
    sums: dict[Hashable, float] = {}
    total = squares = 0.0
    for skipped, i in enumerate(order, start=1):
        group: Hashable = int(i) if groups is None else groups[i]
        before = sums.get(group, 0.0)
        after = before + float(loss[i])
        sums[group] = after
        total, squares = total + float(loss[i]), squares + after * after - before * before
        if skipped < n and harm[order[skipped]] == harm[i]:
            continue  # equal ones are skipped together
        # Not centred: a rare large loss must not look like a small spread.
        error = float(np.sqrt(max(0.0, squares))) / n
        points.append(
            FrontierPoint(
                threshold=float(harm[i]), skip_rate=skipped / n, loss=total / n, error=error
            )
        )
    return points


def choose_threshold(
    points: Sequence[FrontierPoint], *, max_loss: float | None, skip_rate: float | None
) -> FrontierPoint | None:
    """The point that skips most while losing little, or the one nearest to `skip_rate`.

    Little is: `max_loss` against always reranking, with a standard error to spare, since the
    best of many points is a lucky one; and `max_loss` against the best point, so that where
    skipping some queries gains, the gain is not spent on skipping others that lose. Skipping
    everything is held to the same.

    None where nothing is worth skipping.

    Raises:
        InputError: not exactly one of the two is given.
    """
    if skip_rate is not None and max_loss is None:
        best = min(points, key=lambda p: (abs(p.skip_rate - skip_rate), p.skip_rate))
    elif max_loss is not None and skip_rate is None:
        lowest = min(points, key=lambda p: p.loss)
        best = points[0]  # which skips nothing, and is always allowed
        for p in points[1:]:
            if p.loss + p.error <= max_loss and p.loss - lowest.loss <= max_loss:
                best = p
    else:
        raise InputError("a gate's threshold is set on max_loss or on skip_rate, not on both")
    return best if best.skip_rate > 0.0 else None


def thinned(points: Sequence[FrontierPoint]) -> list[Mapping[str, float]]:
    """At most 41 of the points, evenly spaced in skip rate, as plain numbers for a file."""
    if not points:
        return []
    wanted = np.linspace(0.0, 1.0, _POINTS)
    rates = np.array([p.skip_rate for p in points])
    index = sorted({int(np.abs(rates - w).argmin()) for w in wanted})
    return [
        {
            "threshold": round(points[i].threshold, 6),
            "skip_rate": round(points[i].skip_rate, 4),
            "loss": round(points[i].loss, 6),
        }
        for i in index
    ]


def _column(values: Sequence[Mapping[str, float | None]], name: str) -> FloatArray:
    # A query without candidates has no scores; nothing is at stake there.
    known = [row[name] for row in values]
    return np.array([0.0 if v is None else v for v in known], dtype=np.float64)
