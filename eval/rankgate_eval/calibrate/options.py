"""What a fit is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from rankgate.errors import InputError
from rankgate.types import FirstStageKind


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What the fit is asked for.

    Attributes:
        max_loss: mean nDCG@10 that the gate may lose; None where `skip_rate` is given.
        skip_rate: share of the queries to skip; None where `max_loss` is given.
        false_refusals: share of the answerable queries that the floor may refuse.
        confidence: of the bound on that share.
        seed: of the folds and of the intervals.
        lexicon: whether `unknown_share` may be used.
        prior: share of unanswerable questions that the probabilities are for; None: as they come.
    """

    kind: FirstStageKind
    max_loss: float | None = 0.002
    skip_rate: float | None = None
    false_refusals: float = 0.05
    confidence: float = 0.95
    top_n: int = 5
    folds: int = 5
    seed: int = 0
    lexicon: bool = False
    prior: float | None = None

    def __post_init__(self) -> None:
        if (self.max_loss is None) == (self.skip_rate is None):
            raise InputError("give either max_loss or skip_rate for the gate, not both or neither")
        if self.max_loss is not None and not 0.0 <= self.max_loss <= 1.0:
            raise InputError(f"max_loss is nDCG@10 between 0 and 1, got {self.max_loss}")
        if self.skip_rate is not None and not 0.0 <= self.skip_rate <= 1.0:
            raise InputError(f"skip_rate is a share between 0 and 1, got {self.skip_rate}")
        for name, value in (
            ("false_refusals", self.false_refusals),
            ("confidence", self.confidence),
        ):
            if not 0.0 < value < 1.0:
                raise InputError(f"{name} must be above 0 and below 1, got {value}")
        if self.prior is not None and not 0.0 <= self.prior < 1.0:
            raise InputError(f"prior must be at least 0 and below 1, got {self.prior}")
        if self.top_n < 1:
            raise InputError(f"top_n must be at least 1, got {self.top_n}")
