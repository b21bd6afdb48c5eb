"""What a calibration promised of its policy, as the policy file says.

`rankgate calibrate` writes into a policy's provenance what the fresh half saw of it. A policy that
was made otherwise promises nothing, and whoever asks is told so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankgate.policy import Policy
from rankgate.types import FirstStageKind

__all__ = ["Counted", "Expected", "Promise", "promise_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A share as it was counted: `count` of `n` questions."""

    count: int
    n: int

    @property
    def share(self) -> float:
        """In [0, 1]; `n` is above 0."""
        return self.count / self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Probabilities of the best passage, and what came true, of `n` questions."""

    n: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the fresh half of a calibration saw.

    Attributes:
        unanswerable: share of unanswerable questions that the probabilities were fitted for.
        stated: whether somebody named that share; else it is that of the questions that were
            read, half of which were made unanswerable, and no forecast of any traffic.
        skipped, skipped_unanswerable: by the gate, of answerable and of unanswerable questions;
            None where there were none.
        refused, refused_unanswerable: by the floor, likewise; the unanswerable ones without
            questions of another data set, which are too easy.
        answerable: what the probabilities said of answerable questions alone, and what was so;
            None where there is no probability.
    """

    unanswerable: float
    stated: bool
    skipped: Counted | None
    skipped_unanswerable: Counted | None
    refused: Counted | None
    refused_unanswerable: Counted | None
    answerable: Expected | None


def promise_of(policy: Policy, kind: FirstStageKind | str) -> Promise | None:
    """What the calibration of this section promised; None where the policy does not say."""
    record = policy.provenance
    if record.get("section") != FirstStageKind(kind).value or "mixture" not in record:
        return None
    mixture = record["mixture"]
    if mixture is None:  # nothing was fitted
        return None
    held = record["held_out"]
    floor, gate = held["floor"], held["gate"]
    answers = [
        found["served"]
        for stratum, found in floor["false_answers"].items()
        if not stratum.startswith("foreign")
    ]
    wrong, n = sum(a["count"] for a in answers), sum(a["n"] for a in answers)
    known = held["probability"]["answerable"]
    return Promise(
        unanswerable=float(mixture["unanswerable"]),
        stated=bool(mixture["stated"]),
        skipped=_counted(gate["skip_rate"]),
        skipped_unanswerable=_counted(gate["skip_rate_unanswerable"]),
        refused=_counted(floor["false_refusals_all_answerable"]),
        refused_unanswerable=Counted(count=n - wrong, n=n) if n else None,
        answerable=None
        if known is None
        else Expected(n=known["n"], predicted=known["predicted"], observed=known["base_rate"]),
    )


def _counted(found: Mapping[str, Any]) -> Counted | None:
    return Counted(count=found["count"], n=found["n"]) if found["n"] else None
