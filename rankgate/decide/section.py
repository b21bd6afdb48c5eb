"""The section: everything that is decided for one kind of first stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from rankgate.decide.floor import Floor
from rankgate.decide.gate import Decision, Gate
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.signals import LEXICAL_SIGNALS, Signals
from rankgate.decide.sufficiency import Sufficiency
from rankgate.errors import PolicyError
from rankgate.profile import Profile
from rankgate.retrieve.depth import DEFAULT_K
from rankgate.retrieve.fusion import Fusion

__all__ = ["Section"]


# The signal that is there where a feature of the first stage is.
_TOLD_BY = {
    "dense": "dense_top1",
    "bm25_log": "bm25_top1",
    "bm25_per_word": "bm25_top1",
    "coverage": "coverage_top1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The decisions for one kind of first stage.

    Attributes:
        fusion: how dense and BM25 lists are merged.
        reranked: relevance model of results that the scorer read; None: raw order, no floor.
        first_stage: relevance model of skipped and degraded results; None likewise.
        floor: refusing and dropping.
        sufficiency: whether the best passages hold the answer; its floor stands in the place of
            `floor.refuse_below` and `weak_below` wherever it can be told. None: not asked.
        k: candidates that are kept after fusion, which the second stage reads.
        deadline_ms: time for the whole reranking where the caller gives none; None: no limit.
        reserve_ms: part of the deadline kept back for falling back.
    """

    profile: Profile = field(default_factory=Profile)
    fusion: Fusion = field(default_factory=Fusion)
    gate: Gate = field(default_factory=Gate)
    reranked: RelevanceModel | None = None
    first_stage: RelevanceModel | None = None
    floor: Floor = field(default_factory=Floor)
    sufficiency: Sufficiency | None = None
    k: int = DEFAULT_K
    top_n: int = 5
    deadline_ms: float | None = None
    reserve_ms: float = 10.0

    def __post_init__(self) -> None:
        if self.k < 1 or self.top_n < 1:
            raise PolicyError(f"k and top_n must be at least 1, got {self.k} and {self.top_n}")
        if self.deadline_ms is not None and not self.deadline_ms > self.reserve_ms:
            raise PolicyError(
                f"deadline_ms ({self.deadline_ms}) must exceed reserve_ms ({self.reserve_ms}): "
                "with equal limits the fallback could never run"
            )
        floors = self.floor.active or self.sufficiency is not None
        if floors and self.reranked is None and self.first_stage is None:
            raise PolicyError(
                "a floor needs a relevance model: it is a threshold on a probability, not on "
                "raw scores. Fit one with `rankgate calibrate`, or set the floor to null."
            )
        if self.first_stage is not None and self.first_stage.scale is not None:
            raise PolicyError("the first-stage relevance model must not read raw scores")

    @property
    def may_skip(self) -> bool:
        """Whether the gate may skip: a floor that judges needs a probability on either path."""
        return not self.judges or self.first_stage is not None

    @property
    def judges(self) -> bool:
        """Whether it says anything of a query, on whatever path."""
        return self.floor.judges or self.sufficiency is not None

    @property
    def refuses_by(self) -> Floor:
        """The floor that refuses a question: that of `sufficiency`, where it has a threshold."""
        own = None if self.sufficiency is None else self.sufficiency.floor
        return self.floor if own is None or own.refuse_below is None else own

    def decide(self, signals: Signals) -> Decision:
        """What the gate decides, where the floor leaves it the choice.

        A single passage that only its own words would judge is read: that costs next to nothing,
        and whoever answers in other words would be refused. Where this first stage does not give
        what the model for skipped queries reads, the floor would be lost by skipping.
        """
        first, may_skip = self.first_stage, self.may_skip
        if first is not None and self.judges:
            seen = signals.values()
            alone = signals.candidates == 1 and not first.orders
            blind = any(seen.get(_TOLD_BY[name]) is None for name in first.model.names)
            may_skip = not (alone or blind)
        return self.gate.decide(signals, may_skip=may_skip)

    @property
    def reads_texts(self) -> bool:
        """Whether gate or models read what the candidates' own texts tell."""
        models = (self.gate.model, *(m.model for m in (self.reranked, self.first_stage) if m))
        read = {c.signal for rule in self.gate.rules for c in rule.conditions}
        read |= {name for model in models if model is not None for name in model.names}
        return not read.isdisjoint((*LEXICAL_SIGNALS, "coverage"))
