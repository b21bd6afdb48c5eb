"""The plan: a request, the candidates that it brings, and what becomes of it on its way."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rankgate.deadline import Deadline
from rankgate.decide.gate import Action, Decision
from rankgate.decide.rank import Ranking, rank
from rankgate.decide.section import Section
from rankgate.decide.signals import Signals
from rankgate.errors import InputError
from rankgate.scorers.protocol import ScoreContext, Scores, ScoreStats
from rankgate.types import Candidate, FirstStageKind, Path

__all__ = ["READS", "Plan", "Request", "as_candidates", "as_query", "forced", "kind_of"]

# Scores that each kind of first stage gives.
READS = {
    FirstStageKind.HYBRID: ("dense", "bm25"),
    FirstStageKind.DENSE: ("dense",),
    FirstStageKind.BM25: ("bm25",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One query to rerank; `Reranker.rerank_many` takes several.

    Attributes:
        candidates: from the first stage, best first; or plain texts in that order.
        top_n: passages to keep; None: the policy's.
        deadline: for this request; None: the policy's `deadline_ms`, if any.
        force: `rerank` or `skip` overrules the gate, for comparisons; None: the gate decides.
        cancelled: set when nobody waits for the outcome any more: the scorer begins no further
            chunk.
    """

    query: str
    candidates: Sequence[Candidate | str]
    top_n: int | None = None
    deadline: Deadline | None = None
    force: Action | str | None = None
    cancelled: threading.Event | None = None


@dataclass(slots=True, kw_only=True)
class Plan:
    """A request on its way: what was decided, and what came of it."""

    query: str
    kind: FirstStageKind
    section: Section
    candidates: list[Candidate]
    top_n: int
    outer: Deadline | None
    cancelled: threading.Event | None
    started: float
    signals: Signals = field(init=False)
    decision: Decision = field(init=False)
    timings: dict[str, float] = field(default_factory=dict)
    scores: Scores | None = None
    failure: tuple[str, str] | None = None
    ranking: Ranking = field(init=False)
    notes: list[str] = field(default_factory=list)
    stats: ScoreStats = field(default_factory=ScoreStats)
    until: Deadline | None = None

    def ranked(self, read: Sequence[float] | None = None) -> Ranking:
        """By the one function that orders; `read` is a reader's."""
        return rank(
            self.query,
            self.candidates,
            self.scores,
            self.section,
            top_n=self.top_n,
            signals=self.signals,
            read=read,
        )

    @property
    def limited(self) -> bool:
        """Whether it may end before the others that would share a call with it."""
        own = (self.outer, self.section.deadline_ms, self.cancelled)
        return any(part is not None for part in own)

    def context(self) -> ScoreContext:
        """What a scorer may know, from now on."""
        if self.until is None:  # what is read second has what the first has left
            self.until = self.deadline()
        context = ScoreContext(deadline=self.until)
        return context if self.cancelled is None else replace(context, cancelled=self.cancelled)

    def deadline(self) -> Deadline | None:
        """What is left when this is called: the policy's time begins now, the caller's runs."""
        found = self.outer
        if self.section.deadline_ms is not None:
            found = Deadline.after(self.section.deadline_ms / 1000.0).sooner_of(found)
        return None if found is None else found.earlier_by(self.section.reserve_ms / 1000.0)

    def why(self, ranking: Ranking) -> tuple[Path, str, str]:
        """Which stage ordered, and the reason with its sentence."""
        if self.decision.action is not Action.RERANK:
            path = Path.DEGRADED if self.decision.forced else Path.SKIPPED
            return path, self.decision.reason, self.decision.detail
        if self.failure is not None:
            return Path.DEGRADED, *self.failure
        if ranking.path is Path.SKIPPED:
            return (
                Path.DEGRADED,
                "deadline",
                "the deadline passed before the first passage was read",
            )
        if ranking.path is Path.DEGRADED:
            return ranking.path, ranking.reason, ranking.detail
        return ranking.path, self.decision.reason, self.decision.detail


def as_query(query: object) -> str:
    """The query, if something is asked: white space has no answer, and no embedder takes it.

    Raises:
        InputError: no string, or an empty one.
    """
    if not isinstance(query, str):
        raise InputError(f"query must be a string, got {type(query).__name__}")
    if not query.strip():
        raise InputError("the question is empty; ask something")
    return query


def as_candidates(candidates: Sequence[Candidate | str]) -> list[Candidate]:
    """Candidates as they are; plain texts, best first, become candidates named by their place.

    Raises:
        InputError: something else, or both kinds in one list.
    """
    if isinstance(candidates, str):
        raise InputError("candidates must be a list of texts or candidates, got one string")
    found = [
        Candidate(id=str(i), text=c, rank=i + 1) if isinstance(c, str) else c
        for i, c in enumerate(candidates)
    ]
    for c in found:
        if not isinstance(c, Candidate):
            raise InputError(
                f"candidates must be texts or rankgate.Candidate, got {type(c).__name__}. Use the "
                "LangChain or LlamaIndex component, or build Candidate(id=, text=, rank=)."
            )
    return found


def kind_of(candidates: Iterable[Candidate]) -> FirstStageKind:
    """Which scores all of these candidates carry; `order` where there are none."""
    rows = list(candidates)
    dense = bool(rows) and all(c.dense is not None for c in rows)
    bm25 = bool(rows) and all(c.bm25 is not None for c in rows)
    if dense:
        return FirstStageKind.HYBRID if bm25 else FirstStageKind.DENSE
    return FirstStageKind.BM25 if bm25 else FirstStageKind.ORDER


def forced(decision: Decision, action: Action) -> Decision:
    """The caller's wish instead of the gate's; what cannot run still cannot."""
    if decision.forced or decision.reason in ("no_candidates", "empty_query"):
        return decision
    return Decision(
        action=action,
        reason="forced",
        detail=f"asked for by the caller; the gate said {decision.action.value}: {decision.reason}",
        harm=decision.harm,
    )
