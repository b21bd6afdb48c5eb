"""Puts candidates into their final order: by scores where they were read, else by stage one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rankgate.deadline import Deadline
from rankgate.decide.gate import Action, Decision
from rankgate.decide.logistic import sigmoid
from rankgate.decide.relevance import RelevanceModel, relevance_features
from rankgate.decide.signals import Signals
from rankgate.policy import Section
from rankgate.scorers.protocol import Scores
from rankgate.types import Candidate, Dropped, FirstStageKind, Passage, Path

__all__ = ["Plan", "cut", "ordered"]


@dataclass(slots=True, kw_only=True)
class Plan:
    """A request on its way: what was decided, and what came of it."""

    query: str
    kind: FirstStageKind
    section: Section
    candidates: list[Candidate]
    signals: Signals
    decision: Decision
    top_n: int
    deadline: Deadline | None
    started: float
    timings: dict[str, float] = field(default_factory=dict)
    scores: Scores | None = None
    failure: str = ""
    failure_detail: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def wants_scores(self) -> bool:
        """Whether the scorer is to be called."""
        return self.decision.action is Action.RERANK


def ordered(plan: Plan) -> tuple[list[Passage], Path, str, str]:
    """Every candidate in its final order, and which stage decided it."""
    decision, scores = plan.decision, plan.scores
    if decision.action is not Action.RERANK:
        path = Path.DEGRADED if decision.forced else Path.SKIPPED
        return _by_first_stage(plan), path, decision.reason, decision.detail
    if scores is None:
        return _by_first_stage(plan), Path.DEGRADED, plan.failure, plan.failure_detail
    if not scores.scored.any():
        detail = "the deadline passed before the first passage was read"
        return _by_first_stage(plan), Path.DEGRADED, "deadline", detail
    if scores.note:
        return _by_scores(plan, scores), Path.DEGRADED, scores.note, "the scorer fell back"
    if not scores.complete and scores.order is None:
        read = int(scores.scored.sum())
        detail = f"{read} of {scores.scored.size} passages were read in time; the rest follow"
        passages = _by_scores(plan, scores)
        known = [p.relevance_score for p in passages if p.relevance_score is not None]
        if plan.section.floor.refuses(max(known, default=None)):
            # The answer may stand in what was not read: a prefix alone refuses nothing.
            plan.notes.append("scores_unused: what was read in time is below the floor")
            passages = _by_first_stage(plan)
        return passages, Path.DEGRADED, "deadline_partial", detail
    return _by_scores(plan, scores), Path.RERANKED, decision.reason, decision.detail


def _by_first_stage(plan: Plan) -> list[Passage]:
    """First-stage order; by the first-stage relevance model's logit where one applies."""
    candidates = plan.candidates
    logits = _first_stage_logits(plan)
    order = sorted(
        range(len(candidates)),
        key=lambda i: (0.0 if logits is None else -logits[i], candidates[i].rank, i),
    )
    return [
        _passage(plan, index, rank, logit=None if logits is None else float(logits[index]))
        for rank, index in enumerate(order, start=1)
    ]


def _first_stage_logits(plan: Plan) -> npt.NDArray[np.float64] | None:
    model = plan.section.first_stage
    if model is None or not plan.candidates:
        return None
    columns = relevance_features(plan.candidates, plan.signals)
    return _apply(model, columns, len(plan.candidates), plan)


def _apply(
    model: RelevanceModel, columns: dict[str, npt.NDArray[np.float64]], n: int, plan: Plan
) -> npt.NDArray[np.float64] | None:
    missing = model.missing(columns)
    if missing:
        plan.notes.append(f"relevance_not_applied: missing {', '.join(missing)}")
        return None
    return model.logits(columns, n)


def _by_scores(plan: Plan, scores: Scores) -> list[Passage]:
    """Read passages first, by the relevance model's logit; unread ones behind.

    Raw scores of another scale than the relevance model's never meet it: then raw values
    order, and there is no probability.
    """
    candidates, n_read = plan.candidates, scores.values.size
    head = candidates[:n_read]
    read = np.flatnonzero(scores.scored)
    logits: dict[int, float] = {}
    model = plan.section.reranked
    if model is not None and model.scale is not None and model.scale != scores.scale:
        plan.notes.append(f"relevance_not_applied: scores are {scores.scale}")
        model = None
    if model is not None:
        columns = relevance_features([head[i] for i in read], plan.signals, scores.values[read])
        values = _apply(model, columns, read.size, plan)
        if values is not None:
            logits = dict(zip(read.tolist(), values.tolist(), strict=True))

    def strength(i: int) -> float:
        return logits[i] if i in logits else float(scores.values[i])

    first = sorted(read.tolist(), key=lambda i: (-strength(i), candidates[i].rank, i))
    behind = _unread(plan, scores, set(first))
    return [
        _passage(
            plan,
            index,
            rank,
            raw=float(scores.values[index]) if index < n_read and scores.scored[index] else None,
            logit=logits.get(index),
        )
        for rank, index in enumerate([*first, *behind], start=1)
    ]


def _unread(plan: Plan, scores: Scores, read: set[int]) -> list[int]:
    """Unread candidates in their order: the stage's, or the first stage's.

    They get no probability: the first stage's and the scorer's never meet one floor.
    """
    rest = [i for i in range(len(plan.candidates)) if i not in read]
    if not rest:
        return []
    if scores.order is not None:
        place = {int(i): p for p, i in enumerate(scores.order)}
        return sorted(rest, key=lambda i: (place.get(i, len(place)), plan.candidates[i].rank, i))
    logits = _first_stage_logits(plan)
    return sorted(
        rest,
        key=lambda i: (0.0 if logits is None else -logits[i], plan.candidates[i].rank, i),
    )


def _passage(
    plan: Plan, index: int, rank: int, *, raw: float | None = None, logit: float | None = None
) -> Passage:
    return Passage(
        candidate=plan.candidates[index],
        index=index,
        rank=rank,
        raw_score=raw,
        logit=logit,
        relevance_score=None if logit is None else sigmoid(logit),
    )


def cut(passages: Sequence[Passage], plan: Plan) -> list[Passage]:
    """Drop what is below the floor, then what is beyond top_n.

    What stands behind a dropped passage goes too: nobody read it and found it better.
    """
    floor, kept, below = plan.section.floor, 0, False
    result: list[Passage] = []
    for p in passages:
        below = below or floor.drops(p.relevance_score)
        if below:
            result.append(replace(p, dropped=Dropped.BELOW_FLOOR))
        elif kept >= plan.top_n:
            result.append(replace(p, dropped=Dropped.BEYOND_TOP_N))
        else:
            kept += 1
            result.append(p)
    return result
