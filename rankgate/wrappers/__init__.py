"""Wrappers: a Scorer around a Scorer."""

from rankgate.wrappers.batched import Batched
from rankgate.wrappers.breaker import Breaker, BreakerState
from rankgate.wrappers.cached import Cached
from rankgate.wrappers.metrics import PrometheusMetrics
from rankgate.wrappers.timed import Timed, TimingSummary
from rankgate.wrappers.windowed import Windowed

__all__ = [
    "Batched",
    "Breaker",
    "BreakerState",
    "Cached",
    "PrometheusMetrics",
    "Timed",
    "TimingSummary",
    "Windowed",
]
