"""One deadline for a whole request, handed down as remaining time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from rankgate.errors import InputError

__all__ = ["Deadline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A point on a monotonic clock after which no new work is begun.

    Inference cannot be interrupted, so whoever works in chunks looks at `remaining()`
    between them. `expires_at` is in seconds of `clock`.
    """

    expires_at: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """A deadline `seconds` from now (zero or less: already over).

        Raises:
            InputError: `seconds` is NaN.
        """
        if math.isnan(seconds):
            raise InputError("a deadline needs a number of seconds, got NaN")
        return cls(expires_at=clock() + seconds, clock=clock)

    def remaining(self) -> float:
        """Seconds left; never below zero."""
        return max(0.0, self.expires_at - self.clock())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0.0

    def earlier_by(self, reserve: float) -> Deadline:
        """The same deadline, `reserve` seconds sooner: time kept back for a fallback."""
        return Deadline(expires_at=self.expires_at - reserve, clock=self.clock)

    def sooner_of(self, other: Deadline | None) -> Deadline:
        """Whichever of the two expires first; both must read the same clock."""
        if other is None or self.expires_at <= other.expires_at:
            return self
        return other
