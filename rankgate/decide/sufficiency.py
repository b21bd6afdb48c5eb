"""Sufficiency: the probability that the best passages hold the answer, absolute across questions.

The relevance model's probability is likeness; one logistic puts it together with what else the
passages tell (`evidence`), and, where that leaves doubt, with what a reader says that has read
question and passages together. Fits, evaluation and serving call `Sufficiency.judge`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rankgate.decide.evidence import EVIDENCE
from rankgate.decide.floor import Floor
from rankgate.decide.logistic import Logistic, sigmoid
from rankgate.errors import ConfigError, PolicyError

__all__ = [
    "OFF",
    "READER_FORMS",
    "READINGS",
    "Judged",
    "ReaderName",
    "Sufficiency",
    "reading_features",
]

OFF = "off"
READER_FORMS = "reader:FILE, cross-encoder:NAME, nli:NAME, llm:MODEL@URL or off"
_KINDS = ("reader", "cross-encoder", "nli", "llm")
_AT_URL = re.compile(r"(.+)@(https?://\S+)")

READINGS = ("reads_best", "reads_mean")
"""What is made of a reader's logits: the highest, and the mean of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderName:
    """The setting `sufficiency`, taken apart.

    Attributes:
        kind: `reader`, `cross-encoder`, `nli`, `llm` or `off`.
        name: the file of a `reader`, else the model; "" for `off`, and for an `llm` alone.
        url: of the server of an `llm`, where it is given. It is no part of what a policy was
            fitted with.
    """

    kind: str
    name: str = ""
    url: str = ""

    @classmethod
    def parse(cls, text: str) -> ReaderName:
        """Take a setting apart.

        Raises:
            ConfigError: it is none of the known forms, which the message lists.
        """
        kind, colon, name = (text if isinstance(text, str) else "").strip().partition(":")
        name = name.strip()
        if kind in (OFF, "llm") and not colon:
            return cls(kind=kind)
        if kind not in _KINDS or not name:
            raise ConfigError(f"sufficiency must be {READER_FORMS}, got {text!r}")
        served = _AT_URL.fullmatch(name) if kind == "llm" else None
        if served is not None:
            return cls(kind=kind, name=served[1], url=served[2])
        return cls(kind=kind, name=name)

    @property
    def fitted(self) -> str:
        """What a policy keeps of it: kind and name."""
        return f"{self.kind}:{self.name}" if self.name else self.kind

    def __str__(self) -> str:
        return f"{self.fitted}@{self.url}" if self.url else self.fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is known of whether a list holds the answer.

    Attributes:
        probability: that it does.
        unsure: whether a reader would be asked, and was not.
        read: whether a reader's logits are in it.
    """

    probability: float
    unsure: bool = False
    read: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sufficiency:
    """When a reader is asked, and what becomes of all that is known.

    Attributes:
        evidence: a logistic over `EVIDENCE`; on its probability `low` and `high` decide.
        read: another over `EVIDENCE` and `READINGS`, where a reader has read; None: none reads.
        reader: the setting that it was fitted for, such as `nli:NAME`, without an address.
        low, high: a reader is asked where the probability is at least `low` and below `high`.
        floor: thresholds on the probability; without `refuse_below` the section's own floor, on
            likeness, still refuses.
        provenance: data, n and quality, as the fit recorded them.
    """

    evidence: Logistic
    floor: Floor
    read: Logistic | None = None
    reader: str = OFF
    low: float = 0.0
    high: float = 1.0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = ReaderName.parse(self.reader)
        if (name.kind == OFF) != (self.read is None):
            raise PolicyError(
                f"sufficiency: reader {self.reader!r} and a model with its readings go together"
            )
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise PolicyError(
                f"sufficiency: low and high must be in order in [0, 1], got {self.low} and "
                f"{self.high}"
            )
        if self.floor.drop_below is not None:
            raise PolicyError("sufficiency: drop_below is for passages, and this is for a question")
        for model, known in ((self.evidence, EVIDENCE), (self.read, (*EVIDENCE, *READINGS))):
            unknown = [] if model is None else [n for n in model.names if n not in known]
            if unknown:
                raise PolicyError(
                    f"sufficiency: unknown feature {unknown[0]!r}; known: {', '.join(known)}"
                )

    def judge(
        self, evidence: Mapping[str, float], logits: Sequence[float] | None = None
    ) -> Judged | None:
        """What is known; None where a feature is missing, such as the cosine of a bare order.

        Args:
            evidence: of `evidence_of`.
            logits: of the reader, one a passage; None: nothing was read.
        """
        found = self.evidence.logit(evidence)
        if found is None:
            return None
        probability = sigmoid(found)
        if self.read is None or not self.low <= probability < self.high:
            return Judged(probability=probability)
        if not logits:
            return Judged(probability=probability, unsure=True)
        both = self.read.logit({**evidence, **reading_features(logits)})
        if both is None:
            return Judged(probability=probability)
        return Judged(probability=sigmoid(both), read=True)


def reading_features(logits: Sequence[float]) -> dict[str, float]:
    """`READINGS` of at least one passage."""
    return {"reads_best": max(logits), "reads_mean": sum(logits) / len(logits)}
