"""Wrappers: a Scorer around a Scorer."""

from rankgate.scorers.wrappers.batched import Batched
from rankgate.scorers.wrappers.breaker import Breaker, BreakerState
from rankgate.scorers.wrappers.cached import Cached
from rankgate.scorers.wrappers.windowed import Windowed

__all__ = [
    "Batched",
    "Breaker",
    "BreakerState",
    "Cached",
    "Windowed",
]
