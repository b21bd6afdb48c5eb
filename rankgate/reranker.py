"""The reranker: gate, scorer, relevance model and floor in one call that never fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from rankgate.deadline import Deadline
from rankgate.decide.evidence import LISTED
from rankgate.decide.gate import Action, Decision
from rankgate.decide.rank import Ranking, rank
from rankgate.decide.section import Section
from rankgate.decide.signals import Signals, compute_signals
from rankgate.decide.sufficiency import OFF, ReaderName
from rankgate.describe import Description, describe
from rankgate.errors import ConfigError, InputError, ScorerError
from rankgate.fit import check_when_loaded, default_policy_for
from rankgate.outcome import Outcome
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, Scores, ScoreStats
from rankgate.scorers.steps import Call, Steps, arun, run
from rankgate.types import Candidate, FirstStageKind, Path, Status

__all__ = ["Request", "Reranker", "as_candidates", "kind_of"]

logger = logging.getLogger("rankgate")


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
            named = Policy.default().sections if self.first_stage is None else (self.first_stage,)
            fit = default_policy_for(self.profile, named, trust_unknown=True)
            policy, self.notes = fit.policy, (*self.notes, *fit.notes)
        self.policy = policy
        kinds = tuple(policy.sections) if self.first_stage is None else (self.first_stage,)
        for kind in kinds:
            policy.check_profile(kind, self.profile)
        check_when_loaded(scorer, policy, kinds)
        self.reader = _reader(policy, kinds, sufficiency)

    def describe(self) -> Description:
        """What is active (gate, floor, probabilities), and what is off and why."""
        return describe(
            self.policy,
            kind=self.first_stage,
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

    def _read(self, plans: Sequence[_Plan]) -> Steps[bool]:
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
            answers = []
        spent = (time.perf_counter() - begun) * 1000.0
        for plan in plans:
            plan.timings["score"] = spent
        for plan, scores in zip(plans, answers, strict=False):
            plan.scores = scores
        return True

    def _order(self, plan: _Plan) -> Steps[None]:
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
        if scores.complete:
            plan.ranking = plan.ranked([float(v) for v in scores.values])
        else:
            plan.notes.append("sufficiency_not_read: the deadline passed before all was read")
        plan.timings["read"] = (time.perf_counter() - begun) * 1000.0

    def _plan(self, request: Request) -> _Plan:
        started = time.perf_counter()
        if not isinstance(request.query, str):
            raise InputError(f"query must be a string, got {type(request.query).__name__}")
        candidates = as_candidates(request.candidates)
        kind = self._kind(candidates)
        section = self.policy.section(kind)
        top_n = section.top_n if request.top_n is None else request.top_n
        if isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1:
            raise InputError(f"top_n must be a whole number of at least 1, got {top_n!r}")
        plan = _Plan(
            query=request.query,
            kind=kind,
            section=section,
            candidates=candidates,
            top_n=top_n,
            outer=request.deadline,
            cancelled=request.cancelled,
            started=started,
        )
        deadline = plan.deadline()
        plan.signals = compute_signals(
            request.query,
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
            plan.decision = _forced(plan.decision, wish)
        plan.timings = {
            "signals": (seen - started) * 1000.0,
            "gate": (time.perf_counter() - seen) * 1000.0,
        }
        return plan

    def _kind(self, candidates: Sequence[Candidate]) -> FirstStageKind:
        """Which section applies: as named, unless no candidate has the scores that it reads."""
        named = self.first_stage
        if not candidates:  # no scores to tell the kind by, and no section to be missing
            return next(iter(self.policy.sections)) if named is None else named
        if named is None:
            return kind_of(candidates)
        reads = _READS.get(named, ())
        if all(any(getattr(c, score) is not None for c in candidates) for score in reads):
            return named
        carried = kind_of(candidates)
        return carried if carried in self.policy.sections else named

    def _finish(self, plan: _Plan) -> Outcome:
        ranking = plan.ranking
        path, reason, detail = plan.why(ranking)
        passages = ranking.passages(plan.candidates)
        plan.timings["total"] = (time.perf_counter() - plan.started) * 1000.0
        return Outcome(
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
            stats=ScoreStats() if plan.scores is None else plan.scores.stats,
            policy=self.policy.name,
            timings_ms=plan.timings,
            notes=(*self.notes, *ranking.notes, *plan.notes),
        )


@dataclass(slots=True, kw_only=True)
class _Plan:
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


def _reader(
    policy: Policy, kinds: Sequence[FirstStageKind], wish: str | Scorer | None
) -> Scorer | None:
    """Who reads where these sections are unsure; None: nobody, or no section asks."""
    found = (policy.sections[k].sufficiency for k in kinds if k in policy.sections)
    fitted = {s.reader for s in found if s is not None and s.reader != OFF}
    if wish is None and not fitted:
        return None
    if wish is not None and not isinstance(wish, str):
        return wish
    from rankgate.judge.reading import load_reader

    if wish is not None:
        name = ReaderName.parse(wish)
        if name.kind != OFF and {str(name)} != fitted:
            have = ", ".join(sorted(fitted)) or "none"
            raise ConfigError(
                f"sufficiency = {wish!r}, but policy {policy.name!r} was fitted with: {have}. A "
                f"reader's numbers mean nothing to another's fit: rankgate calibrate DATA "
                f"--sufficiency {wish}, or sufficiency = 'off'"
            )
        return load_reader(str(name))
    if len(fitted) > 1:
        raise ConfigError(f"policy {policy.name!r} has sections of several readers: {fitted}")
    return load_reader(fitted.pop())


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


# Scores that each kind of first stage gives.
_READS = {
    FirstStageKind.HYBRID: ("dense", "bm25"),
    FirstStageKind.DENSE: ("dense",),
    FirstStageKind.BM25: ("bm25",),
}


def kind_of(candidates: Sequence[Candidate]) -> FirstStageKind:
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
