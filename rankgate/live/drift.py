"""Whether traffic is skipped and refused as often as it was promised, week by week.

Whoever watches a page looks whenever he likes, so a test for one look would cry wolf. Here each
week's evidence may be looked at as often as one likes: whatever the true rates, a week in which
nothing changed is called drifted with probability at most `FALSE_ALARMS`.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rankgate.bounds import anytime_interval, clopper_pearson, log_evidence
from rankgate.live.promise import Counted, Promise

__all__ = ["FALSE_ALARMS", "Day", "Rate", "Week", "weeks_of"]

FALSE_ALARMS = 0.01
"""Of a week in which neither rate has changed, all of its tests together."""
# Two rates, each against the promise and against the weeks before; and of each test one half for
# what is compared with, which was counted itself, one for the week.
_EACH = FALSE_ALARMS / 4.0 / 2.0

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """Questions of one day under one policy.

    Attributes:
        day: in UTC.
        refused: to which nothing was handed on.
    """

    day: datetime.date
    n: int
    skipped: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One rate in one week.

    Attributes:
        count: of `n` questions.
        low, high: interval at 95% that holds however often one looks.
        promised: rates that the promise allows, an interval; None without a promise.
        before: that the weeks before allow; None in the first.
        drifted: `promise`, `before`, both with a comma, or "": from what it has drifted.
    """

    count: int
    n: int
    low: float
    high: float
    promised: Range | None
    before: Range | None
    drifted: str

    @property
    def share(self) -> float:
        """In [0, 1]; 0 of none."""
        return self.count / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """A week of traffic under one policy; `start` is its Monday."""

    start: datetime.date
    n: int
    skipped: Rate
    refused: Rate

    @property
    def drifted(self) -> bool:
        """Whether one of the rates has."""
        return bool(self.skipped.drifted or self.refused.drifted)


def weeks_of(days: Sequence[Day], promise: Promise | None) -> list[Week]:
    """The weeks of these days, oldest first; a week without a question is left out.

    Args:
        days: by rising date, each once, all under the same policy.
        promise: of that policy; None: it makes none.
    """
    skip_promise = refuse_promise = None
    if promise is not None:
        skip_promise = _promised(promise, promise.skipped, promise.skipped_unanswerable)
        refuse_promise = _promised(promise, promise.refused, promise.refused_unanswerable)
    found: list[Week] = []
    by_week = itertools.groupby(days, key=lambda d: d.day - datetime.timedelta(d.day.weekday()))
    n = skipped = refused = 0  # of the weeks before
    for start, group in by_week:
        inside = list(group)
        counts = [day.n for day in inside]
        found.append(
            Week(
                start=start,
                n=sum(counts),
                skipped=_rate(
                    counts, [d.skipped for d in inside], skip_promise, _counted(skipped, n)
                ),
                refused=_rate(
                    counts, [d.refused for d in inside], refuse_promise, _counted(refused, n)
                ),
            )
        )
        n += sum(counts)
        skipped += sum(d.skipped for d in inside)
        refused += sum(d.refused for d in inside)
    return found


def _promised(
    promise: Promise, answerable: Counted | None, unanswerable: Counted | None
) -> Range | None:
    """Rates that the promise allows.

    At the share of unanswerable questions that somebody named, else at any: that of the questions
    which a calibration reads is no forecast of traffic.
    """
    if answerable is None:
        return None
    low, high = _counted(answerable.count, answerable.n) or (0.0, 1.0)
    if unanswerable is None:
        return low, high
    other_low, other_high = _counted(unanswerable.count, unanswerable.n) or (0.0, 1.0)
    if promise.stated:
        u = promise.unanswerable
        return (1.0 - u) * low + u * other_low, (1.0 - u) * high + u * other_high
    return min(low, other_low), max(high, other_high)


def _counted(count: int, n: int) -> Range | None:
    # Half of what is allowed, whether one rate or a mixture of two is compared with.
    return clopper_pearson(count, n, level=1.0 - _EACH / 2.0) if n else None


def _rate(
    n_by_day: Sequence[int], by_day: Sequence[int], promised: Range | None, before: Range | None
) -> Rate:
    drifted = []
    for name, allowed in (("promise", promised), ("before", before)):
        if allowed is not None:
            looks = zip(itertools.accumulate(by_day), itertools.accumulate(n_by_day), strict=True)
            # What was once shown stays shown, though later days of the week may hide it.
            if max(log_evidence(k, n, *allowed) for k, n in looks) >= -math.log(_EACH):
                drifted.append(name)
    count, n = sum(by_day), sum(n_by_day)
    low, high = anytime_interval(count, n)
    return Rate(
        count=count,
        n=n,
        low=low,
        high=high,
        promised=promised,
        before=before,
        drifted=",".join(drifted),
    )
