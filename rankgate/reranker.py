"""The reranker: gate, scorer, relevance model and floor in one call that never fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from rankgate.deadline import Deadline
from rankgate.decide.gate import Action, Decision
from rankgate.decide.ordering import Plan, cut, ordered
from rankgate.decide.rounding import beside
from rankgate.decide.signals import compute_signals
from rankgate.errors import InputError, ProfileMismatchError, ScorerError
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, ScoreStats
from rankgate.scorers.steps import Call, Steps, arun, run
from rankgate.types import Candidate, Dropped, FirstStageKind, Outcome, Status

__all__ = ["Request", "Reranker"]

logger = logging.getLogger("rankgate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One query to rerank; `Reranker.rerank_many` takes several.

    Attributes:
        query: the user's words.
        candidates: from the first stage, best first.
        top_n: passages to keep; None: the policy's.
        deadline: for this request; None: the policy's `deadline_ms`, if any.
        force: `rerank` or `skip` overrules the gate, for comparisons; None: the gate decides.
        cancelled: set when nobody waits for the outcome any more: the scorer begins no further
            chunk. A call that several requests share does not look at it.
    """

    query: str
    candidates: Sequence[Candidate]
    top_n: int | None = None
    deadline: Deadline | None = None
    force: Action | str | None = None
    cancelled: threading.Event | None = None


class Reranker:
    """Orders candidates by a second read where that pays, and says what it did.

    Args:
        scorer: anything with `score`; see `rankgate.scorers.Scorer`.
        policy: gate, relevance models and floor. None: the default policy if it was fitted for
            this scorer, otherwise `Policy.unfitted()` (always rerank, raw order, no floor).
        first_stage: which scores the candidates carry. None: seen from each query's candidates.
        profile: what is known of the first stage (embedder, space, chunking), compared with
            what the policy was fitted for.
        lexicon: words that the corpus contains, for the share of unknown words.

    Raises:
        PolicyError: the policy has no section for `first_stage`.
        ProfileMismatchError: the policy was fitted for another scorer or first stage.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        policy: Policy | None = None,
        first_stage: FirstStageKind | str | None = None,
        profile: Profile | None = None,
        lexicon: Collection[str] | None = None,
    ) -> None:
        self.scorer = scorer
        self.first_stage = None if first_stage is None else FirstStageKind(first_stage)
        base = Profile() if profile is None else profile
        known = Profile.of_scorer(scorer.info).to_dict()
        self.profile = replace(base, **known)
        self.lexicon = lexicon
        if policy is None:
            policy = self._default_policy()
        self.policy = policy
        kinds = policy.sections if self.first_stage is None else (self.first_stage,)
        for kind in kinds:
            policy.check_profile(kind, self.profile)

    def _default_policy(self) -> Policy:
        default = Policy.default()
        kinds = default.sections if self.first_stage is None else (self.first_stage,)
        try:
            for kind in kinds:
                default.check_profile(kind, self.profile)
        except ProfileMismatchError:
            logger.info(
                "no policy is fitted for scorer %s: always reranking, no floor. "
                "Fit one with `rankgate calibrate`.",
                self.scorer.info.id,
            )
            return Policy.unfitted()
        return default

    def rerank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        top_n: int | None = None,
        *,
        deadline: Deadline | None = None,
        force: Action | str | None = None,
        cancelled: threading.Event | None = None,
    ) -> Outcome:
        """Rerank one query's candidates.

        Args:
            query: the user's words.
            candidates: best first by the first stage; beyond the policy's K they are kept
                behind, unread.
            top_n: passages to keep; None: the policy's.
            deadline: for the whole call; None: the policy's.
            force: overrules the gate.
            cancelled: set when nobody waits any more: the scorer stops at its next chunk.

        Returns:
            The outcome; every candidate is in it exactly once. A scorer that fails, times out
            or returns nonsense gives first-stage order with status `degraded`.

        Raises:
            InputError: query or candidates cannot be used.
            PolicyError: the policy has no section for these candidates.
        """
        request = Request(
            query=query,
            candidates=candidates,
            top_n=top_n,
            deadline=deadline,
            force=force,
            cancelled=cancelled,
        )
        return self.rerank_many([request])[0]

    async def arerank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        top_n: int | None = None,
        *,
        deadline: Deadline | None = None,
        force: Action | str | None = None,
        cancelled: threading.Event | None = None,
    ) -> Outcome:
        """`rerank` without blocking the event loop."""
        request = Request(
            query=query,
            candidates=candidates,
            top_n=top_n,
            deadline=deadline,
            force=force,
            cancelled=cancelled,
        )
        return (await self.arerank_many([request]))[0]

    def rerank_many(self, requests: Sequence[Request]) -> list[Outcome]:
        """Rerank several queries; those that need the scorer share one call to it."""
        return run(self._steps(requests))

    async def arerank_many(self, requests: Sequence[Request]) -> list[Outcome]:
        """`rerank_many` without blocking the event loop."""
        return await arun(self._steps(requests))

    def _steps(self, requests: Sequence[Request]) -> Steps[list[Outcome]]:
        plans = [self._plan(request) for request in requests]
        waiting = [plan for plan in plans if plan.wants_scores]
        if waiting:
            jobs = [
                Job(query=p.query, texts=[c.text for c in p.candidates[: p.section.k]])
                for p in waiting
            ]
            context = ScoreContext(deadline=_scoring_deadline(waiting))
            gone = [r.cancelled for r, p in zip(requests, plans, strict=True) if p.wants_scores]
            if len(gone) == 1 and gone[0] is not None:
                context = replace(context, cancelled=gone[0])
            begun = time.perf_counter()
            try:
                answers = yield Call(scorer=self.scorer, jobs=jobs, context=context)
            except InputError:
                raise
            except Exception as exc:  # a failing reranker never fails the request
                reason = exc.reason if isinstance(exc, ScorerError) else ScorerError.reason
                detail = f"{type(exc).__name__}: {exc}"
                logger.warning("scorer %s failed: %s", self.scorer.info.id, detail)
                for plan in waiting:
                    plan.failure, plan.failure_detail = reason, detail
            else:
                for plan, scores in zip(waiting, answers, strict=True):
                    plan.scores = scores
            spent = (time.perf_counter() - begun) * 1000.0
            for plan in waiting:
                plan.timings["score"] = spent
        return [self._finish(plan) for plan in plans]

    def _plan(self, request: Request) -> Plan:
        started = time.perf_counter()
        if not isinstance(request.query, str):
            raise InputError(f"query must be a string, got {type(request.query).__name__}")
        candidates = list(request.candidates)
        for c in candidates:
            if not isinstance(c, Candidate):
                raise InputError(
                    f"candidates must be rankgate.Candidate, got {type(c).__name__}. Use the "
                    "LangChain or LlamaIndex component, or build Candidate(id=, text=, rank=)."
                )
        kind = self.first_stage
        if kind is None:
            # Nothing was found: no scores to tell the kind by, and no section to be missing.
            kind = _kind_of(candidates) if candidates else next(iter(self.policy.sections))
        section = self.policy.section(kind)
        top_n = section.top_n if request.top_n is None else request.top_n
        if isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1:
            raise InputError(f"top_n must be a whole number of at least 1, got {top_n!r}")
        deadline = request.deadline
        if section.deadline_ms is not None:
            own = Deadline.after(section.deadline_ms / 1000.0)
            deadline = own if deadline is None else own.sooner_of(deadline)
        if deadline is not None:
            deadline = deadline.earlier_by(section.reserve_ms / 1000.0)
        signals = compute_signals(
            request.query,
            candidates[: section.k],
            lexicon=self.lexicon,
            remaining_ms=None if deadline is None else deadline.remaining() * 1000.0,
            breaker_open=bool(getattr(self.scorer, "is_open", False)),
        )
        seen = time.perf_counter()
        decision = section.gate.decide(signals, may_skip=section.may_skip)
        if request.force is not None:
            try:
                wish = Action(request.force)
            except ValueError as exc:
                raise InputError(
                    f"force must be 'rerank', 'skip' or None, got {request.force!r}"
                ) from exc
            decision = _forced(decision, wish)
        timings = {
            "signals": (seen - started) * 1000.0,
            "gate": (time.perf_counter() - seen) * 1000.0,
        }
        return Plan(
            query=request.query,
            kind=kind,
            section=section,
            candidates=candidates,
            signals=signals,
            decision=decision,
            top_n=top_n,
            deadline=deadline,
            started=started,
            timings=timings,
        )

    def _finish(self, plan: Plan) -> Outcome:
        begun = time.perf_counter()
        passages, path, reason, detail = ordered(plan)
        path_reason = reason
        best = max(
            (p.relevance_score for p in passages if p.relevance_score is not None), default=None
        )
        floor = plan.section.floor
        if floor.active and best is None and passages:
            plan.notes.append("floor_not_applied: no relevance model applied to this result")
        status = Status(path.value)
        if best is not None and floor.refuse_below is not None and floor.refuses(best):
            status, reason = Status.REFUSED, "below_floor"
            shown, bound = beside(best, floor.refuse_below)
            detail = f"best probability {shown}, at least {bound} needed"
            passages = [replace(p, dropped=Dropped.REFUSED) for p in passages]
        else:
            passages = cut(passages, plan)
        kept = tuple(p for p in passages if p.dropped is None)
        if passages and not kept and status is not Status.REFUSED:
            status, reason = Status.REFUSED, "all_below_floor"
            detail = f"every passage is below {floor.drop_below}"
        plan.timings["order"] = (time.perf_counter() - begun) * 1000.0
        plan.timings["total"] = (time.perf_counter() - plan.started) * 1000.0
        return Outcome(
            query=plan.query,
            status=status,
            path=path,
            reason=reason,
            detail=detail,
            path_reason=path_reason,
            kept=kept,
            dropped=tuple(p for p in passages if p.dropped is not None),
            top_n=plan.top_n,
            first_stage=plan.kind,
            decision=plan.decision,
            signals=plan.signals,
            scorer=self.scorer.info,
            stats=ScoreStats() if plan.scores is None else plan.scores.stats,
            policy=self.policy.name,
            timings_ms=plan.timings,
            notes=tuple(plan.notes),
        )


def _kind_of(candidates: Sequence[Candidate]) -> FirstStageKind:
    """Which scores all of these candidates carry."""
    dense = bool(candidates) and all(c.dense is not None for c in candidates)
    bm25 = bool(candidates) and all(c.bm25 is not None for c in candidates)
    if dense:
        return FirstStageKind.HYBRID if bm25 else FirstStageKind.DENSE
    return FirstStageKind.BM25 if bm25 else FirstStageKind.ORDER


def _forced(decision: Decision, action: Action) -> Decision:
    """The caller's wish instead of the gate's; what cannot run still cannot."""
    if decision.forced or decision.reason in ("no_candidates", "empty_query"):
        return decision
    return Decision(
        action=action,
        reason="forced",
        detail=f"asked for by the caller; the gate said {decision.action.value}: {decision.reason}",
        harm=decision.harm,
    )


def _scoring_deadline(plans: Sequence[Plan]) -> Deadline | None:
    """The soonest of the plans' deadlines: they share one call."""
    soonest: Deadline | None = None
    for plan in plans:
        if plan.deadline is not None:
            soonest = plan.deadline.sooner_of(soonest)
    return soonest
