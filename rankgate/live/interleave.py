"""Two orders of one question mixed into one list, and which of them people prefer.

Team-draft interleaving (Radlinski, Kurup and Joachims, CIKM 2008, doi:10.1145/1458082.1458092):
the two draft in turns, a coin says who goes first in each round, and each takes its best item that
is not there yet. Whatever is then liked speaks for the one that drafted it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from rankgate.bounds import anytime_interval, log_evidence
from rankgate.errors import InputError

__all__ = ["Preference", "Team", "interleave", "preference"]

Item = TypeVar("Item", bound=Hashable)
Team = Literal["a", "b"]


def interleave(
    a: Sequence[Item], b: Sequence[Item], draw: Callable[[], float], *, n: int
) -> list[tuple[Item, Team]]:
    """The first `n` of both lists, mixed, each with the one that drafted it.

    Every list's items come in its own order, and none is passed over that is not there already.
    Where one list has nothing left to draft, the other goes on.

    Args:
        a: best first, each item once.
        b: likewise.
        draw: gives uniform numbers in [0, 1), one a round.
        n: items that are wanted; fewer where both have no more.

    Raises:
        InputError: a list has an item twice, or `n` is below 0.
    """
    if n < 0 or len(set(a)) < len(a) or len(set(b)) < len(b):
        raise InputError(f"lists of different items and n of at least 0 are mixed, got n {n}")
    mixed: dict[Item, Team] = {}
    while len(mixed) < n:
        before = len(mixed)
        sides: tuple[tuple[Team, Sequence[Item]], ...] = (("a", a), ("b", b))
        for team, own in sides if draw() < 0.5 else sides[::-1]:
            item = next((i for i in own if i not in mixed), None)
            if item is not None and len(mixed) < n:
                mixed[item] = team
        if len(mixed) == before:
            break
    return list(mixed.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Which of two is preferred, a conversation counting once.

    Attributes:
        answers: with credit.
        a, b: conversations in which one has more credit than the other.
        ties: conversations in which both have as much.
        low, high: 95% interval of the share of `b` among those with a preference; it holds
            however often one looks.
        p: of no preference, by the sign of each conversation; likewise valid at every look.
    """

    answers: int
    a: int
    b: int
    ties: int
    low: float
    high: float
    p: float

    @property
    def share(self) -> float | None:
        """Of `b` among the conversations with a preference; None without one."""
        return self.b / (self.a + self.b) if self.a + self.b else None


def preference(credits: Iterable[tuple[str, float, float]]) -> Preference:
    """The sign test over conversations.

    Args:
        credits: conversation, credit of `a` and of `b`, one an answer.
    """
    sums: dict[str, float] = {}
    answers = 0
    for cluster, for_a, for_b in credits:
        answers += 1
        sums[cluster] = sums.get(cluster, 0.0) + for_b - for_a
    won, lost = sum(v > 0 for v in sums.values()), sum(v < 0 for v in sums.values())
    low, high = anytime_interval(won, won + lost)
    return Preference(
        answers=answers,
        a=lost,
        b=won,
        ties=len(sums) - won - lost,
        low=low,
        high=high,
        p=min(1.0, math.exp(-log_evidence(won, won + lost, 0.5, 0.5))),
    )
