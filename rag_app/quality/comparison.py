"""One question with and without reranking, on the candidates that a chat would have."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from rag_app.ask.pipeline import Pipeline
from rag_app.ask.result import AnswerResult
from rag_app.ask.searched import Searched
from rag_app.quality.scorer_choices import ScorerChoice, choice_named
from rankgate import Floor, Policy, Profile, Reranker
from rankgate.decide.gate import Action
from rankgate.decide.sufficiency import OFF
from rankgate.errors import InputError
from rankgate.scorers import ScoreContext
from rankgate.types import Candidate, FirstStageKind, Path

_HYBRID = FirstStageKind.HYBRID


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Three ways with the same candidates.

    Attributes:
        searched: the question, and what was searched for: as a chat's first turn.
        candidates: of the first stage, best first.
        without: as if the gate had skipped.
        with_reranking: as if it had not.
        retrieve_ms: milliseconds that the candidates took, the same for all.
        floor_without, floor_with: thresholds of the two ways; none where no policy fits.
        k: candidates that the second stage read.
        misfit: what keeps the policy in use from fitting that scorer; empty where it fits.
    """

    searched: Searched
    candidates: tuple[Candidate, ...]
    without: AnswerResult
    with_reranking: AnswerResult
    policy: AnswerResult
    retrieve_ms: float
    floor_without: Floor
    floor_with: Floor
    k: int
    choice: ScorerChoice
    misfit: tuple[str, ...] = ()

    @property
    def raw_order(self) -> bool:
        """Whether raw scores ordered, because no relevance model applies to them."""
        outcome = self.with_reranking.outcome
        return (
            outcome.path is Path.RERANKED
            and bool(outcome.passages)
            and all(p.relevance_score is None for p in outcome.passages)
        )

    @property
    def note(self) -> str:
        """What does not apply to this scorer, in words; "" where everything does."""
        scale = self.with_reranking.outcome.scorer.scale
        if self.misfit:
            return (
                f"The policy was not fitted for this scorer ({self.misfit[0]}). Its gate, its "
                "probabilities and its floor do not apply: everything is reranked, and stands "
                f"in the order of the raw scores ({scale})."
            )
        if self.raw_order:
            return (
                f"No relevance model applies to this scorer's scores ({scale}): passages stand "
                "in the order of the raw scores, and no floor cuts them."
            )
        return ""


def compare(
    pipeline: Pipeline,
    question: str,
    *,
    k: int | None = None,
    top_n: int | None = None,
    floor: Floor | None = None,
    scorer: str | None = None,
    limits: ScoreContext | None = None,
) -> Comparison:
    """Answer a question with and without reranking.

    A scorer that the policy in use was not fitted for gets no gate, no probabilities and no
    floor, as everywhere; the way without reranking stays as the policy has it.

    Args:
        k: candidates to read; None: the pipeline's.
        top_n: passages to keep; None: the settings', else the policy's.
        floor: thresholds instead of the policy's; None: the policy's.
        scorer: id of one of `scorer_choices`; None: the pipeline's.
        limits: the request's deadline, and whether anybody still waits.

    Raises:
        InputError: the question is empty, k or top_n below 1, or no such scorer.
        PolicyError: thresholds, where the policy has no probabilities.
    """
    limits = ScoreContext() if limits is None else limits
    depth = pipeline.k if k is None else k
    if depth < 1:
        raise InputError(f"k must be at least 1, got {depth}")
    choice = choice_named(pipeline, scorer)
    changes: dict[str, Any] = {"k": depth}
    if floor is not None:  # on a passage's probability; who sets it wants no other
        changes |= {"floor": floor, "sufficiency": None}
    base = pipeline.reranker
    fitted, misfit = _policy_for(pipeline, choice)
    own = _reranker(pipeline, base.policy.with_section(_HYBRID, **changes))
    if misfit:
        changes = {"k": depth}
    reranker = _reranker(pipeline, fitted.with_section(_HYBRID, **changes), choice)
    # Where nothing is fitted for the scorer, what does not need it is still the policy's.
    first = own if misfit else reranker
    searched = pipeline.searched_for(question, writer=pipeline.writer(), limits=limits)
    begun = time.perf_counter()
    candidates = pipeline.candidates(searched, depth, limits=limits)
    retrieve_ms = (time.perf_counter() - begun) * 1000.0
    wanted = pipeline.settings.top_n if top_n is None else top_n

    def one(by: Reranker, force: Action | None) -> AnswerResult:
        outcome = by.rerank(
            searched.scored,
            candidates,
            wanted,
            deadline=limits.deadline,
            cancelled=limits.cancelled,
            force=force,
        )
        timings = {"retrieve": retrieve_ms, "rerank": outcome.timings_ms["total"]}
        *_, result = pipeline.write(searched, outcome, timings_ms=timings, limits=limits)
        if isinstance(result, str):
            raise InputError("the pipeline ended without a result")  # not reached
        return result

    with_reranking, without = one(reranker, Action.RERANK), one(first, Action.SKIP)
    return Comparison(
        searched=searched,
        candidates=tuple(candidates),
        without=without,
        with_reranking=with_reranking,
        policy=one(reranker, None),
        retrieve_ms=retrieve_ms,
        floor_without=first.policy.section(_HYBRID).floor,
        floor_with=reranker.policy.section(_HYBRID).floor,
        k=depth,
        choice=choice,
        misfit=misfit,
    )


def _reranker(pipeline: Pipeline, policy: Policy, choice: ScorerChoice | None = None) -> Reranker:
    base = pipeline.reranker
    return Reranker(
        base.scorer if choice is None else choice.scorer,
        policy=policy,
        first_stage=_HYBRID,
        profile=pipeline.store.profile(),
        lexicon=base.lexicon,
        sufficiency=OFF if base.reader is None else base.reader,
    )


def _policy_for(pipeline: Pipeline, choice: ScorerChoice) -> tuple[Policy, tuple[str, ...]]:
    """The policy for a scorer, and why it is the unfitted one; nothing where it is not.

    The settings' policy, else the bundled one, if it was fitted for the scorer: the same rule
    by which the pipeline found its own.
    """
    settings, base = pipeline.settings, pipeline.reranker
    if choice.configured:
        return base.policy, ()
    policy = Policy.default() if settings.policy is None else base.policy
    profile = replace(pipeline.store.profile(), **Profile.of_scorer(choice.scorer.info).to_dict())
    differences = policy.section(_HYBRID).profile.mismatches(profile)
    section = base.policy.section(_HYBRID)
    same = {"top_n": section.top_n, "deadline_ms": section.deadline_ms, "fusion": section.fusion}
    if differences:
        return Policy.unfitted().with_section(_HYBRID, **same), differences
    return policy.with_section(_HYBRID, **same), ()
