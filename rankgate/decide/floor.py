"""The floor: say nothing rather than something irrelevant."""

from __future__ import annotations

from dataclasses import dataclass

from rankgate.errors import PolicyError

__all__ = ["Floor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Two inclusive thresholds on `relevance_score`. 0.0 lets all pass; None is no floor.

    Attributes:
        refuse_below: where even the best passage is below it, the query is refused.
        drop_below: a passage below it is dropped.
    """

    refuse_below: float | None = None
    drop_below: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("refuse_below", self.refuse_below),
            ("drop_below", self.drop_below),
        ):
            # Written so that NaN fails too.
            if value is not None and not 0.0 <= value <= 1.0:
                raise PolicyError(
                    f"{name} is a probability between 0 and 1, or null for none; got {value}"
                )

    @property
    def active(self) -> bool:
        """Whether any threshold is set (0.0 counts as set)."""
        return self.refuse_below is not None or self.drop_below is not None

    def refuses(self, best: float | None) -> bool:
        """Whether a query whose best passage has this probability is refused.

        Without a probability there is nothing to judge by, and nothing is refused.
        """
        return self.refuse_below is not None and best is not None and best < self.refuse_below

    def drops(self, probability: float | None) -> bool:
        """Whether a passage with this probability is dropped."""
        return (
            self.drop_below is not None
            and probability is not None
            and probability < self.drop_below
        )
