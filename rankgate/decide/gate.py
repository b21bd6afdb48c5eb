"""The gate: decides before the second stage, from signals alone, whether it is worth its time."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rankgate.decide.logistic import Logistic, sigmoid
from rankgate.decide.rounding import beside
from rankgate.decide.signals import Signals
from rankgate.errors import PolicyError

__all__ = ["Action", "Condition", "Decision", "Gate", "Rule"]

_OPERATORS = {">=": operator.ge, "<=": operator.le}
_SIGNAL_NAMES = frozenset(Signals(candidates=0, query_words=0).values())
_VETOES = ("negation", "temporal", "conditional")


class Action(StrEnum):
    """What the gate decided."""

    RERANK = "rerank"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The gate's decision with what it was made from.

    Attributes:
        reason: a short code; the full list stands in docs/gate.md.
        detail: the reason in a sentence, with the numbers.
        forced: the second stage was wanted but cannot run (no time, breaker open); the
            outcome is then `degraded`, not `skipped`.
        harm: fitted probability that skipping costs quality, in [0, 1]; None while unfitted.
    """

    action: Action
    reason: str
    detail: str = ""
    forced: bool = False
    harm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """`signal op value`, such as `dense_margin_12 >= 0.15`."""

    signal: str
    op: str
    value: float

    def __post_init__(self) -> None:
        if self.signal not in _SIGNAL_NAMES:
            raise PolicyError(
                f"unknown signal {self.signal!r}; known: {', '.join(sorted(_SIGNAL_NAMES))}"
            )
        if self.op not in _OPERATORS:
            raise PolicyError(f"unknown comparison {self.op!r}; known: >=, <=")

    def holds(self, values: Mapping[str, float | None]) -> bool | None:
        """Whether it holds; None where the signal is missing."""
        value = values[self.signal]
        return None if value is None else bool(_OPERATORS[self.op](value, self.value))

    def seen(self, values: Mapping[str, float | None]) -> str:
        """The condition with the signal's value: `query_words <= 2 (is 2.000)`."""
        value = values[self.signal]
        return f"{self} (is {'missing' if value is None else beside(value, self.value)[0]})"

    def __str__(self) -> str:
        return f"{self.signal} {self.op} {self.value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """All conditions together; its name is the reason for skipping."""

    name: str
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        if not self.conditions:
            raise PolicyError(f"rule {self.name!r} has no condition: it would skip every query")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Skips where a rule holds, or where the fitted harm of skipping is small.

    Exactly one of `rules` and `model` is used: once a model is fitted, rules and vetoes rest.
    With neither, every query that can be reranked is.

    Attributes:
        rules: explicit thresholds; the first that holds skips.
        veto: query markers that forbid skipping while nothing is fitted.
        model: logistic predicting the harm of skipping.
        threshold: skip where the probability of harm is at or below it.
        min_remaining_ms: less time than this and the second stage is not begun.
    """

    rules: tuple[Rule, ...] = ()
    veto: tuple[str, ...] = ()
    model: Logistic | None = None
    threshold: float | None = None
    min_remaining_ms: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model is not None and self.rules:
            raise PolicyError("a gate has rules or a fitted model, not both")
        if (self.model is None) != (self.threshold is None):
            raise PolicyError("a fitted gate needs both model and threshold")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise PolicyError(f"gate threshold is a probability, got {self.threshold}")
        unknown = [v for v in self.veto if v not in _VETOES]
        if unknown:
            raise PolicyError(f"unknown veto {unknown[0]!r}; known: {', '.join(_VETOES)}")
        if self.model is not None:
            strange = [n for n in self.model.names if n not in _SIGNAL_NAMES]
            if strange:
                raise PolicyError(f"the gate's model reads an unknown signal {strange[0]!r}")

    def decide(self, signals: Signals, *, may_skip: bool = True) -> Decision:
        """Decide for one query.

        Args:
            signals: of the query and its candidates.
            may_skip: False where the floor needs the second stage's probability.
        """
        if signals.candidates == 0:
            return Decision(
                action=Action.SKIP, reason="no_candidates", detail="the first stage found nothing"
            )
        if signals.query_words == 0:
            return Decision(
                action=Action.SKIP, reason="empty_query", detail="the query has no words"
            )
        if signals.breaker_open:
            return Decision(
                action=Action.SKIP,
                reason="breaker_open",
                detail="the scorer failed too often lately and is left alone for now",
                forced=True,
            )
        if signals.remaining_ms is not None and (
            signals.remaining_ms <= 0 or signals.remaining_ms < self.min_remaining_ms
        ):
            return Decision(
                action=Action.SKIP,
                reason="no_time",
                detail=f"{signals.remaining_ms:.0f} ms left, {self.min_remaining_ms:.0f} needed",
                forced=True,
            )
        if not may_skip:
            return Decision(
                action=Action.RERANK,
                reason="floor_needs_score",
                detail="the floor needs a probability, which the scorer alone can give here",
            )
        if signals.candidates == 1:
            return Decision(
                action=Action.SKIP,
                reason="single_candidate",
                detail="one candidate cannot be reordered",
            )
        return self._fitted(signals) if self.model is not None else self._by_rules(signals)

    def _fitted(self, signals: Signals) -> Decision:
        model, threshold = self.model, self.threshold
        if model is None or threshold is None:
            raise PolicyError("the gate has no fitted model")
        values = signals.values()
        logit = model.logit(values)
        if logit is None:
            missing = ", ".join(model.missing(values))
            return Decision(
                action=Action.RERANK,
                reason="signals_missing",
                detail=f"the fitted gate needs {missing}, which this first stage does not give",
            )
        harm = sigmoid(logit)
        shown, bound = beside(harm, threshold)
        if harm <= threshold:
            return Decision(
                action=Action.SKIP,
                reason="low_harm",
                detail=f"skipping harms with probability {shown}, at most {bound}",
                harm=harm,
            )
        return Decision(
            action=Action.RERANK,
            reason="worth_it",
            detail=f"skipping harms with probability {shown}, above {bound}",
            harm=harm,
        )

    def _by_rules(self, signals: Signals) -> Decision:
        if not self.rules:
            return Decision(action=Action.RERANK, reason="no_gate", detail="no gate is configured")
        values = signals.values()
        for marker in self.veto:
            if values[marker]:
                return Decision(
                    action=Action.RERANK,
                    reason=f"veto_{marker}",
                    detail=f"the query has a {marker} marker, which first stages misread",
                )
        missing: set[str] = set()
        for rule in self.rules:
            held = [c.holds(values) for c in rule.conditions]
            if all(held):
                seen = ", ".join(c.seen(values) for c in rule.conditions)
                return Decision(action=Action.SKIP, reason=rule.name, detail=seen)
            missing |= {c.signal for c, h in zip(rule.conditions, held, strict=True) if h is None}
        if missing and all(
            any(c.holds(values) is None for c in rule.conditions) for rule in self.rules
        ):
            return Decision(
                action=Action.RERANK,
                reason="signals_missing",
                detail=f"every rule needs a signal that is missing: {', '.join(sorted(missing))}",
            )
        return Decision(
            action=Action.RERANK, reason="uncertain", detail="no rule for skipping holds"
        )
