"""Two policies answer one question together, so that traffic can say which of them it prefers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rag_app.ask.first_stage import AlsoSearched, HybridFirstStage
from rag_app.ask.scorer import reranker_for
from rankgate import Reranker, Scorer
from rankgate.decide.section import Section
from rankgate.live.interleave import Team, interleave
from rankgate.outcome import Outcome
from rankgate.scorers import ScoreContext
from rankgate.types import Candidate, Dropped, FirstStageKind, Passage

if TYPE_CHECKING:
    from rag_app.index.store import Store
    from rag_app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Interleaved:
    """One question under two policies.

    Attributes:
        outcome: what is handed on: passages of both in turns; where only one refuses, that of
            the one that a coin chose.
        a, b: what each alone would have done.
        teams: id of each kept passage to the policy that drafted it; empty where nothing can be
            learnt, because both keep the same in the same order, or one refuses.
    """

    outcome: Outcome
    a: Outcome
    b: Outcome
    teams: Mapping[str, Team]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A second policy over the same index.

    Attributes:
        reranker: with it, around the scorer of the first, which remembers what it has read: a
            passage that both want is scored once.
        first_stage: its own, where it fuses otherwise; None: the first policy's candidates.
        draw: gives uniform numbers in [0, 1).
    """

    reranker: Reranker
    first_stage: HybridFirstStage | None
    k: int
    draw: Callable[[], float] = random.random

    def against(
        self,
        first: Outcome,
        candidates: Sequence[Candidate],
        also: Sequence[AlsoSearched],
        limits: ScoreContext,
    ) -> Interleaved:
        """The same question under this policy, mixed with what the first made of it.

        Args:
            first: of the first policy.
            candidates: that it saw, and as many more as this policy reads.
            also: further wordings that were searched for.
        """
        own = candidates
        if self.first_stage is not None:
            own = self.first_stage.candidates(first.query, self.k, also)
        second = self.reranker.rerank(
            first.query, own, first.top_n, deadline=limits.deadline, cancelled=limits.cancelled
        )
        return mixed(first, second, self.draw)


def mixed(a: Outcome, b: Outcome, draw: Callable[[], float]) -> Interleaved:
    """One outcome of two; see `Interleaved`.

    Args:
        a: of the first policy.
        b: of the second.
        draw: gives uniform numbers in [0, 1).
    """
    own = [[p.candidate.id for p in outcome.kept] for outcome in (a, b)]
    if not all(own) or own[0] == own[1]:
        chosen = b if bool(own[0]) != bool(own[1]) and draw() < 0.5 else a
        return Interleaved(outcome=_named(chosen, a, b), a=a, b=b, teams={})
    teams = dict(interleave(own[0], own[1], draw, n=a.top_n))
    found = {p.candidate.id: p for p in b.passages} | {p.candidate.id: p for p in a.passages}
    by_team = {"a": {p.candidate.id: p for p in a.kept}, "b": {p.candidate.id: p for p in b.kept}}
    places = {identifier: i for i, identifier in enumerate(found)}
    kept = [by_team[team][identifier] for identifier, team in teams.items()]
    rest = [p for identifier, p in found.items() if identifier not in teams]

    def placed(passage: Passage, rank: int, dropped: Dropped | None) -> Passage:
        place = places[passage.candidate.id]
        return replace(passage, rank=rank, index=place, dropped=dropped)

    outcome = replace(
        _named(a, a, b),
        kept=tuple(placed(p, i, None) for i, p in enumerate(kept, start=1)),
        dropped=tuple(
            placed(p, i, Dropped.BEYOND_TOP_N if p.dropped is None else p.dropped)
            for i, p in enumerate(rest, start=len(kept) + 1)
        ),
    )
    return Interleaved(outcome=outcome, a=a, b=b, teams=teams)


def _named(outcome: Outcome, a: Outcome, b: Outcome) -> Outcome:
    """Under the name of both, so that what is said of it counts for neither alone."""
    took = {**outcome.timings_ms, "total": a.timings_ms["total"] + b.timings_ms["total"]}
    note = f"interleaved: policies {a.policy!r} and {b.policy!r} answer together"
    return replace(
        outcome,
        policy=f"{a.policy} with {b.policy}",
        timings_ms=took,
        notes=(*outcome.notes, note),
    )


def rival_for(settings: Settings, store: Store, scorer: Scorer, section: Section) -> Rival | None:
    """The second policy of the settings, where there is one."""
    if settings.policy_b is None:
        return None
    reranker = reranker_for(
        settings.model_copy(update={"policy": settings.policy_b}), store, scorer
    )
    other = reranker.policy.section(FirstStageKind.HYBRID)
    return Rival(
        reranker=reranker,
        first_stage=None
        if other.fusion == section.fusion
        else HybridFirstStage(store, other.fusion),
        k=other.k,
    )
