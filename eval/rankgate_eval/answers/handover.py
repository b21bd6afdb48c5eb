"""What each ranking arm hands over to the generator, on the same candidates.

`rerank` and `policy` are run by the engine's own `Reranker` over scores that were read once, so
that what is compared is what ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rankgate.decide.gate import Action
from rankgate.errors import InputError
from rankgate.outcome import Outcome
from rankgate.plan import kind_of
from rankgate.policy import Policy
from rankgate.reranker import Reranker
from rankgate.scorers import Scorer
from rankgate.types import FirstStageKind
from rankgate_eval.answers.questions import AskedQuestion, Handed
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.experiment import Teller, corpus_lexicon, read_questions, sizes
from rankgate_eval.run.orderings import ReplayScorer
from rankgate_eval.run.pool import Pooled
from rankgate_eval.run.system import FirstStage
from rankgate_eval.run.system_choice import profile_of

ARMS = ("first_stage", "rerank", "policy")
"""The ranking arms, in the order in which they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """What every arm hands over for every question.

    Attributes:
        arms: arm to question id to passages.
        skip_rate: share of the questions on which the policy's gate skipped; 0 without one.
        policy: that was used, at this k and top_n.
        first_stage: which scores the candidates carry.
        k: candidates that the scorer read.
        top_n: passages that are handed over at most.
    """

    arms: Mapping[str, Mapping[str, Handed]]
    skip_rate: float
    scorer: str
    policy: Policy
    first_stage: str
    k: int
    top_n: int


def check_arms(arms: Sequence[str]) -> None:
    """Raise where these arms cannot be compared.

    Raises:
        InputError: an unknown one, or not the first stage and another one.
    """
    if set(arms) - set(ARMS) or "first_stage" not in arms or len(arms) < 2:
        raise InputError(
            f"--arms names first_stage and at least one of rerank, policy; got {', '.join(arms)}"
        )


def hand_over(
    stage: FirstStage,
    data: Dataset,
    questions: Sequence[AskedQuestion],
    *,
    scorer: Scorer,
    policy: Policy | None = None,
    kind: FirstStageKind | str | None = None,
    k: int | None = None,
    top_n: int | None = None,
    arms: Sequence[str] = ARMS,
    max_failures: float = 0.05,
    tell: Teller | None = None,
) -> HandOver:
    """Retrieve, score and order the candidates of every question.

    `first_stage` hands over its first `top_n`; `rerank` the first `top_n` after reranking
    always, without a floor; `policy` what the reranker keeps with gate and floor, and it may
    refuse.

    Args:
        questions: they need not be the data set's own.
        scorer: reads the first `k` candidates.
        policy: None: the default one if it fits the scorer, else always reranking.
        kind: which scores the candidates carry; None: seen from them.
        k: candidates, at least `top_n`; None: the policy's.
        top_n: passages handed over, at least 1; None: the policy's.
        arms: which of `ARMS`.
        max_failures: share of the questions on which first stage or scorer may fail.

    Raises:
        InputError: an unknown arm, or k below top_n.
        PolicyError: the policy has no section for this kind of first stage.
        ProfileMismatchError: the policy was fitted for another scorer or first stage.
        SystemFailedError: too many failures.
    """
    check_arms(arms)
    k, top_n = sizes(k, top_n, policy, stage)
    asked = Dataset(
        name=data.name,
        corpus=data.corpus,
        queries={q.id: q.text for q in questions},
        qrels={},
        splits={},
        documents=data.documents,
    )
    say = _silent if tell is None else tell
    lexicon = corpus_lexicon(data, stage)
    pool = read_questions(
        asked,
        stage,
        scorer,
        [q.id for q in questions],
        k=k,
        lexicon=lexicon,
        max_failures=max_failures,
        tell=say,
    )
    seen = kind_of(c for p in pool.values() for c in p.candidates)
    wanted = seen if kind is None else FirstStageKind(kind)
    replay = ReplayScorer(scorer.info)
    parts: dict[str, Any] = {
        "first_stage": wanted,
        "profile": profile_of(stage),
        "lexicon": lexicon,
    }
    base = Reranker(replay, policy=policy, **parts)
    used = base.policy.with_section(wanted, k=k, top_n=top_n, deadline_ms=None)
    reranker = Reranker(replay, policy=used, **parts)
    found: dict[str, dict[str, Handed]] = {arm: {} for arm in ARMS if arm in arms}
    skipped = 0
    for question in questions:
        pooled = pool[question.id]
        replay.pooled = pooled
        if pooled.found.error is not None:
            failed = Handed(ids=(), texts=(), failed=True, reason=pooled.found.error)
            for column in found.values():
                column[question.id] = failed
            continue
        found["first_stage"][question.id] = _first(pooled, top_n)
        if "rerank" in found:
            opened = reranker.rerank(pooled.query, pooled.candidates, force=Action.RERANK)
            found["rerank"][question.id] = _always(opened, top_n)
        if "policy" in found:
            decided = reranker.rerank(pooled.query, pooled.candidates)
            skipped += decided.path.value == "skipped"
            found["policy"][question.id] = _kept(decided)
    return HandOver(
        arms=found,
        skip_rate=skipped / len(questions) if questions and "policy" in found else 0.0,
        scorer=scorer.info.id,
        policy=used,
        first_stage=wanted.value,
        k=k,
        top_n=top_n,
    )


def _first(pooled: Pooled, top_n: int) -> Handed:
    return Handed.of((c.id, c.text) for c in pooled.candidates[:top_n])


def _always(outcome: Outcome, top_n: int) -> Handed:
    """The order alone: what the floor drops or refuses is the policy's matter."""
    ordered = [p.candidate for p in outcome.passages[:top_n]]
    return Handed.of(((c.id, c.text) for c in ordered), path=outcome.path.value)


def _kept(outcome: Outcome) -> Handed:
    handed = Handed.of(
        ((p.candidate.id, p.candidate.text) for p in outcome.kept), path=outcome.path.value
    )
    if not outcome.refused:
        return handed
    return replace(handed, ids=(), texts=(), refused=True, reason=outcome.reason)


def _silent(what: str, done: int, total: int) -> None:
    pass
