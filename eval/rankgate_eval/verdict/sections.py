"""From statistics to the parts of a result: infinite and missing numbers become None."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from rankgate.bounds import clopper_pearson
from rankgate_eval.result.parts import (
    Change,
    Estimate,
    Rate,
    StrataResult,
    StratumRow,
)
from rankgate_eval.stats.intervals import bootstrap_interval
from rankgate_eval.stats.significance import Difference
from rankgate_eval.stats.strata import StrataReport


def interval(
    values: npt.ArrayLike, clusters: Sequence[str], *, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Interval of a mean; None where one document group says nothing of others."""
    low, high = bootstrap_interval(values, clusters, resamples=resamples, seed=seed)
    return _finite(low, high)


def estimate(
    values: npt.NDArray[Any],
    clusters: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """Mean and interval of (n,) values in [0, 1], the interval cut to what is possible."""
    span = interval(values, clusters, resamples=resamples, seed=seed)
    if span is not None:
        span = (max(0.0, span[0]), min(1.0, span[1]))
    return Estimate(mean=float(values.mean()), ci=span)


def change(difference: Difference) -> Change:
    """A difference as a result holds it."""
    error = difference.standard_error
    return Change(
        mean=difference.mean,
        ci=_finite(difference.low, difference.high),
        least=difference.least,
        p=difference.p,
        n=difference.n,
        clusters=difference.clusters,
        level=difference.level,
        standard_error=error if math.isfinite(error) else None,
    )


def rate(count: int, n: int) -> Rate:
    """A share with its exact interval."""
    if n == 0:
        return Rate(count=0, n=0, rate=None, ci=None)
    return Rate(count=count, n=n, rate=count / n, ci=clopper_pearson(count, n))


def strata_result(report: StrataReport) -> StrataResult:
    """All strata as a result holds them."""
    lost = {r.key for r in report.regressions}
    won = {r.key for r in report.gains}
    return StrataResult(
        alpha=report.alpha,
        min_queries=report.min_queries,
        min_clusters=report.min_clusters,
        rows=tuple(
            StratumRow(
                dimension=r.dimension,
                name=r.name,
                n=r.n,
                clusters=r.clusters,
                difference=None if r.difference is None else change(r.difference),
                adjusted_p=r.adjusted_p,
                regression=r.key in lost,
                gain=r.key in won,
                losers=r.losers,
            )
            for r in report.results
        ),
    )


def _finite(low: float, high: float) -> tuple[float, float] | None:
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
