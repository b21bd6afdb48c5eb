"""The reranker: gate, scorer, relevance model and floor in one call that never fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from rankgate.deadline import Deadline
from rankgate.decide.evidence import LISTED
from rankgate.decide.gate import Action
from rankgate.decide.signals import compute_signals
from rankgate.describe import Description, describe
from rankgate.errors import InputError, ScorerError, warn_once, warn_unheard
from rankgate.fit import check_when_loaded, default_policy_for
from rankgate.live.tracing import record_outcome
from rankgate.outcome import Outcome
from rankgate.plan import READS, Plan, Request, as_candidates, as_query, forced, kind_of
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.scorers.protocol import Job, ScoreContext, Scorer
from rankgate.scorers.steps import Call, Steps, arun, run
from rankgate.types import Candidate, FirstStageKind, Status

__all__ = ["Reranker"]

logger = logging.getLogger("rankgate")


class Reranker:
    """Orders candidates by a second read where that pays, and says what it did.

    Args:
        scorer: anything with `score`; see `rankgate.scorers.Scorer`.
        policy: gate, relevance models and floor. None: the default policy if it was fitted for
            this scorer (without its cosines where they are another embedder's), otherwise
            `Policy.unfitted()` (always rerank, raw order, no floor).
        first_stage: which scores the candidates carry. None: seen from each query's candidates.
        profile: what is known of the first stage (embedder, space, chunking), compared with
            what the policy was fitted for.
        lexicon: words that the corpus contains, for the share of unknown words.
        notes: what every outcome should say, of whoever chose the policy.
        sufficiency: who reads question and passages where the policy is unsure whether they hold
            the answer: None for the reader that the policy was fitted with, `off`, or a scorer
            that is that reader.

    Raises:
        ConfigError: `sufficiency` is another reader than the policy's.
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
        notes: Sequence[str] = (),
        sufficiency: str | Scorer | None = None,
    ) -> None:
        self.scorer = scorer
        self.first_stage = None if first_stage is None else FirstStageKind(first_stage)
        base = Profile() if profile is None else profile
        known = Profile.of_scorer(scorer.info).to_dict()
        self.profile = replace(base, **known)
        self.lexicon = lexicon
        self.notes = tuple(notes)
        if policy is None:
            usual = Policy.default().sections if self.first_stage is None else (self.first_stage,)
            fit = default_policy_for(self.profile, usual, trust_unknown=True)
            policy, self.notes = fit.policy, (*self.notes, *fit.notes)
        self.policy = policy
        named = self.first_stage
        kinds = tuple(policy.sections) if named is None else (policy.serving(named),)
        for kind in kinds:
            policy.check_profile(kind, self.profile)
        check_when_loaded(scorer, policy, kinds)
        parts = [policy.sections[k].sufficiency for k in kinds if k in policy.sections]
        if isinstance(sufficiency, str) or (
            sufficiency is None and any(p is not None and p.read is not None for p in parts)
        ):
            from rankgate.judge.reading import reader_for

            sufficiency = reader_for(parts, sufficiency)
        self.reader = sufficiency

    def describe(self, *, served: FirstStageKind | None = None) -> Description:
        """What is active (gate, floor, probabilities), what is guaranteed, what is off and why.

        Args:
            served: whose section served the last query, where somebody has seen one.
        """
        return describe(
            self.policy,
            kind=self.first_stage,
            served=served,
            profile=self.profile,
            scorer=self.scorer.info,
            notes=self.notes,
        )

    def rerank(
        self,
        query: str,
        candidates: Sequence[Candidate | str],
        top_n: int | None = None,
        *,
        deadline: Deadline | None = None,
        force: Action | str | None = None,
        cancelled: threading.Event | None = None,
    ) -> Outcome:
        """Rerank one query's candidates.

        Args:
            candidates: best first by the first stage, or plain texts in that order; beyond the
                policy's K they are kept behind, unread.
            top_n: passages to keep; None: the policy's.
            deadline: for the whole call; None: the policy's.
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
        candidates: Sequence[Candidate | str],
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
        """Rerank several queries; those without a deadline share one call to the scorer.

        A batch changes no member's outcome: each keeps its own deadline (the policy's begins when
        the query's own reading begins), and a query on which the scorer fails degrades alone.
        """
        return run(self._steps(requests))

    async def arerank_many(self, requests: Sequence[Request]) -> list[Outcome]:
        """`rerank_many` without blocking the event loop."""
        return await arun(self._steps(requests))

    def _steps(self, requests: Sequence[Request]) -> Steps[list[Outcome]]:
        plans = [self._plan(request) for request in requests]
        waiting = [plan for plan in plans if plan.decision.action is Action.RERANK]
        together = [plan for plan in waiting if not plan.limited]
        alone = [plan for plan in waiting if plan.limited]
        if len(together) > 1:
            if not (yield from self._read(together)):
                alone = waiting  # whose fault it was is seen one by one
        else:
            alone = waiting
        for plan in alone:
            yield from self._read([plan])
        for plan in plans:
            yield from self._order(plan)
        return [self._finish(plan) for plan in plans]

    def _read(self, plans: Sequence[Plan]) -> Steps[bool]:
        """One call of the scorer; whether it answered. A failure is noted where it is one query's.

        A failing reranker never fails the request, whatever its scorer raises: bad input has been
        refused before this.
        """
        jobs = [
            Job(query=p.query, texts=[c.text for c in p.candidates[: p.section.k]]) for p in plans
        ]
        context = plans[0].context() if len(plans) == 1 else ScoreContext()
        begun = time.perf_counter()
        try:
            answers = yield Call(scorer=self.scorer, jobs=jobs, context=context)
        except Exception as exc:
            if len(plans) > 1:
                return False
            reason = exc.reason if isinstance(exc, ScorerError) else ScorerError.reason
            plans[0].failure = (reason, f"{type(exc).__name__}: {exc}")
            logger.warning("scorer %s failed: %s", self.scorer.info.id, plans[0].failure[1])
            warn_unheard(
                f"the scorer {self.scorer.info.id} fails ({reason}): outcomes are degraded, in the "
                "first stage's order, and say why"
            )
            answers = []
        spent = (time.perf_counter() - begun) * 1000.0
        for plan in plans:
            plan.timings["score"] = spent
        for plan, scores in zip(plans, answers, strict=False):
            plan.scores = scores
        return True

    def _order(self, plan: Plan) -> Steps[None]:
        """The ranking; a reader is asked where that leaves doubt, and its failure is a note."""
        begun = time.perf_counter()
        plan.ranking = plan.ranked()
        plan.timings["order"] = (time.perf_counter() - begun) * 1000.0
        judged = plan.ranking.sufficiency
        if judged is None or not judged.unsure:
            return
        if self.reader is None:
            plan.notes.append("sufficiency_not_read: no reader is on")
            return
        begun = time.perf_counter()
        texts = [plan.candidates[i].text for i in plan.ranking.order[:LISTED].tolist()]
        context = plan.context()
        if context.should_stop:
            plan.notes.append("sufficiency_not_read: no time was left")
            return
        try:
            job = Job(query=plan.query, texts=texts)
            (scores,) = yield Call(scorer=self.reader, jobs=[job], context=context)
        except Exception as exc:  # whatever a reader raises, the request stands
            logger.warning("reader %s failed: %s", self.reader.info.id, exc)
            plan.notes.append(f"sufficiency_not_read: {type(exc).__name__}: {exc}")
            return
        plan.stats += scores.stats
        if scores.complete:
            plan.ranking = plan.ranked([float(v) for v in scores.values])
        else:
            plan.notes.append("sufficiency_not_read: the deadline passed before all was read")
        plan.timings["read"] = (time.perf_counter() - begun) * 1000.0

    def _plan(self, request: Request) -> Plan:
        started = time.perf_counter()
        query = as_query(request.query)
        candidates = as_candidates(request.candidates)
        kind, notes = self._kind(candidates)
        section = self.policy.section(kind)
        top_n = section.top_n if request.top_n is None else request.top_n
        if isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1:
            raise InputError(f"top_n must be a whole number of at least 1, got {top_n!r}")
        plan = Plan(
            query=query,
            kind=kind,
            section=section,
            candidates=candidates,
            top_n=top_n,
            outer=request.deadline,
            cancelled=request.cancelled,
            started=started,
            notes=notes,
        )
        deadline = plan.deadline()
        plan.signals = compute_signals(
            query,
            candidates[: section.k],
            lexicon=self.lexicon,
            remaining_ms=None if deadline is None else deadline.remaining() * 1000.0,
            breaker_open=bool(getattr(self.scorer, "is_open", False)),
            lexical=section.reads_texts,
        )
        seen = time.perf_counter()
        plan.decision = section.decide(plan.signals)
        if request.force is not None:
            try:
                wish = Action(request.force)
            except ValueError as exc:
                raise InputError(
                    f"force must be 'rerank', 'skip' or None, got {request.force!r}"
                ) from exc
            plan.decision = forced(plan.decision, wish)
        plan.timings = {
            "signals": (seen - started) * 1000.0,
            "gate": (time.perf_counter() - seen) * 1000.0,
        }
        return plan

    def _kind(self, candidates: Sequence[Candidate]) -> tuple[FirstStageKind, list[str]]:
        """Which section serves, and a note where the policy has none of its own for them.

        As named, unless no candidate has the scores that it reads.
        """
        named, policy = self.first_stage, self.policy
        if not candidates:  # no scores to tell the kind by, and no section to be missing
            return next(iter(policy.sections)) if named is None else policy.serving(named), []
        carried = kind_of(candidates)
        wanted = carried if named is None else named
        reads = READS.get(wanted, ())
        told = all(any(getattr(c, score) is not None for c in candidates) for score in reads)
        other = policy.sections.keys() & {carried, FirstStageKind.ORDER}
        found = policy.serving(carried if other and not told else wanted)
        if found is wanted or wanted in policy.sections:
            return found, []
        note = f"section_serves: {found.value!r}; the policy has none for {wanted.value!r}"
        warn_once(note)
        return found, [note]

    def _finish(self, plan: Plan) -> Outcome:
        ranking = plan.ranking
        path, reason, detail = plan.why(ranking)
        passages = ranking.passages(plan.candidates)
        plan.timings["total"] = (time.perf_counter() - plan.started) * 1000.0
        outcome = Outcome(
            query=plan.query,
            status=Status.REFUSED if ranking.refused else Status(path.value),
            path=path,
            reason=ranking.refused or reason,
            detail=ranking.refusal if ranking.refused else detail,
            path_reason=reason,
            band=ranking.band,
            sufficiency=None if ranking.sufficiency is None else ranking.sufficiency.probability,
            kept=tuple(p for p in passages if p.dropped is None),
            dropped=tuple(p for p in passages if p.dropped is not None),
            top_n=plan.top_n,
            first_stage=plan.kind,
            decision=plan.decision,
            signals=plan.signals,
            scorer=self.scorer.info,
            stats=plan.stats if plan.scores is None else plan.stats + plan.scores.stats,
            policy=self.policy.name,
            timings_ms=plan.timings,
            notes=(*self.notes, *ranking.notes, *plan.notes),
        )
        record_outcome(outcome)
        return outcome
