"""The floor: say nothing rather than something irrelevant."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rankgate.errors import PolicyError

__all__ = ["Band", "Floor"]


class Band(StrEnum):
    """What the floor says of a query in words."""

    ANSWER = "answer"
    WEAK = "weak"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Inclusive thresholds on `relevance_score`. 0.0 lets all pass; None is no floor.

    Attributes:
        refuse_below: where even the best passage is below it, the query is refused.
        drop_below: a passage below it is dropped.
        weak_below: where the best passage is below it and not refused, the answer is given as
            weak evidence; at least `refuse_below`.
    """

    refuse_below: float | None = None
    drop_below: float | None = None
    weak_below: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("refuse_below", self.refuse_below),
            ("drop_below", self.drop_below),
            ("weak_below", self.weak_below),
        ):
            # Written so that NaN fails too.
            if value is not None and not 0.0 <= value <= 1.0:
                raise PolicyError(
                    f"{name} is a probability between 0 and 1, or null for none; got {value}"
                )

        low, strong = self.refuse_below, self.weak_below
        if low is not None and strong is not None and strong < low:
            raise PolicyError(
                f"weak_below ({strong}) is at least refuse_below ({low}): weak evidence lies "
                "between the two"
            )

    @property
    def active(self) -> bool:
        """Whether any threshold is set (0.0 counts as set)."""
        return self != Floor()

    @property
    def judges(self) -> bool:
        """Whether it says anything of a query by its best passage, on whatever path."""
        return self.refuse_below is not None or self.weak_below is not None

    def refuses(self, best: float | None) -> bool:
        """Whether a query whose best passage has this probability is refused.

        Without a probability there is nothing to judge by, and nothing is refused.
        """
        return self.refuse_below is not None and best is not None and best < self.refuse_below

    def band(self, best: float | None) -> Band:
        """What is said of a query whose best passage has this probability.

        Without a probability there is nothing to judge by, and it is answered.
        """
        if self.refuses(best):
            return Band.REFUSE
        weak = self.weak_below is not None and best is not None and best < self.weak_below
        return Band.WEAK if weak else Band.ANSWER

    def drops(self, probability: float | None) -> bool:
        """Whether a passage with this probability is dropped."""
        return (
            self.drop_below is not None
            and probability is not None
            and probability < self.drop_below
        )
