"""The gate frontier: what skipping more queries would cost, surest queries first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankgate.outcome import Outcome
from rankgate_eval.result.parts import Frontier, FrontierPoint
from rankgate_eval.verdict.sections import interval

_SIGNALS = ("dense_margin_12", "bm25_margin_12")
FloatArray = npt.NDArray[np.float64]


def measure_frontier(
    outcomes: Mapping[str, Outcome],
    query_ids: Sequence[str],
    clusters: Sequence[str],
    *,
    opened: FloatArray,
    shut: FloatArray,
    decided: FloatArray,
    skip_rate: float,
    steps: int = 20,
    resamples: int = 2000,
    seed: int = 0,
) -> Frontier | None:
    """Loss of nDCG@10 against always reranking, by the share of queries that are skipped.

    Queries are sorted by the harm that the fitted gate predicts, or, for a gate of rules, by the
    first stage's margin. Those that cannot be told apart by it are never skipped.

    Args:
        outcomes: query id to the policy's outcome.
        opened: (n,) nDCG@10 where every query is reranked.
        shut: (n,) where every query is skipped.
        decided: (n,) of the policy.
        steps: points beside the one at 0.

    Returns:
        The frontier; None where there is nothing to sort by.
    """
    by, keys = _keys(outcomes, query_ids)
    if not by:
        return None
    order = [i for _, i in sorted((key, i) for i, key in enumerate(keys) if key is not None)]
    n = len(query_ids)
    loss = opened - shut

    def point(rate: float, values: FloatArray) -> FrontierPoint:
        return FrontierPoint(
            skip_rate=rate,
            loss=float(values.mean()),
            ci=interval(values, clusters, resamples=resamples, seed=seed),
        )

    points = []
    for count in sorted({round(n * step / steps) for step in range(steps + 1)}):
        if count > len(order):
            break
        values = np.zeros(n, dtype=np.float64)
        values[order[:count]] = loss[order[:count]]
        points.append(point(count / n, values))
    return Frontier(by=by, points=tuple(points), chosen=point(skip_rate, opened - decided))


def _keys(
    outcomes: Mapping[str, Outcome], query_ids: Sequence[str]
) -> tuple[str, list[float | None]]:
    """What to sort by, ascending: the surest first."""
    harms = [outcomes[q].decision.harm for q in query_ids]
    if any(h is not None for h in harms):
        return "harm", list(harms)
    for name in _SIGNALS:
        margins = [getattr(outcomes[q].signals, name) for q in query_ids]
        if any(m is not None for m in margins):
            return name, [None if m is None else -float(m) for m in margins]
    return "", []
