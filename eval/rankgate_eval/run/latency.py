"""Latency: percentiles that the samples can carry, and whether a budget is kept."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate_eval.result.parts import BudgetResult, BudgetStatus, LatencyResult


def samples_needed(quantile: float, *, confidence: float = 0.95) -> int:
    """Fewest samples whose maximum exceeds the true quantile with `confidence`.

    With fewer, a tail percentile is a guess: 5 for p50, 59 for p95, 299 for p99 (Wilks 1941,
    doi:10.1214/aoms/1177731788).

    Raises:
        InputError: `quantile` or `confidence` is not in (0, 1).
    """
    for name, value in (("quantile", quantile), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise InputError(f"{name} must be in (0, 1), got {value}")
    return math.ceil(math.log1p(-confidence) / math.log(quantile))


def summarise_latency(milliseconds: npt.ArrayLike) -> LatencyResult:
    """Percentiles of per-query latencies, each a value that occurred (nearest rank).

    Raises:
        InputError: no sample, or one that is negative or not finite.
    """
    samples = _samples(milliseconds)
    return LatencyResult(
        n=int(samples.size),
        mean=float(samples.mean()),
        worst=float(samples.max()),
        p50=_percentile(samples, 0.5),
        p95=_percentile(samples, 0.95),
        p99=_percentile(samples, 0.99),
    )


def check_budget(
    milliseconds: npt.ArrayLike, budget_ms: float, *, quantile: float = 0.95
) -> BudgetResult:
    """Compare a latency quantile with a budget.

    With too few samples the status is `unknown`, except that no sample within the budget is
    `over` once there are 5: then even the median is over it.

    Raises:
        InputError: no sample, one that is negative or not finite, or a budget not above 0.
    """
    samples = _samples(milliseconds)
    if not budget_ms > 0.0:
        raise InputError(f"a latency budget must be above 0 ms, got {budget_ms}")
    needed = samples_needed(quantile)
    observed = _percentile(samples, quantile)
    if observed is not None:
        status = BudgetStatus.INSIDE if observed <= budget_ms else BudgetStatus.OVER
    elif samples.size >= samples_needed(0.5) and samples.min() > budget_ms:
        status = BudgetStatus.OVER
    else:
        status = BudgetStatus.UNKNOWN
    return BudgetResult(
        status=status,
        budget_ms=budget_ms,
        quantile=quantile,
        observed_ms=observed,
        n=int(samples.size),
        needed=needed,
    )


def _percentile(samples: npt.NDArray[np.float64], quantile: float) -> float | None:
    if samples.size < samples_needed(quantile):
        return None
    return float(np.quantile(samples, quantile, method="inverted_cdf"))


def _samples(milliseconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    samples = np.asarray(milliseconds, dtype=np.float64)
    if samples.ndim != 1 or samples.size == 0:
        raise InputError(f"one latency a query is needed, got shape {samples.shape}")
    if not (np.isfinite(samples) & (samples >= 0.0)).all():
        raise InputError("latencies must be finite and not negative; a failed query has none")
    return samples
