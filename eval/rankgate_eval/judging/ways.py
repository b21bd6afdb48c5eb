"""Runs questions both ways, with the same pool and the same engine as an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rankgate.plan import kind_of
from rankgate.policy import Policy
from rankgate.scorers import Scorer
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.judging.plan import Ways
from rankgate_eval.run.experiment import Teller, corpus_lexicon, read_questions, sizes
from rankgate_eval.run.orderings import run_arms
from rankgate_eval.run.system import FirstStage
from rankgate_eval.run.system_choice import profile_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Questions in all ways, and what they were run with.

    Attributes:
        ways: question id to its outcomes, in the order asked for.
        policy: name of the one that ran.
    """

    ways: dict[str, Ways]
    k: int
    top_n: int
    policy: str


def read_ways(
    data: Dataset,
    stage: FirstStage,
    scorer: Scorer,
    *,
    query_ids: Sequence[str] | None = None,
    policy: Policy | None = None,
    k: int | None = None,
    top_n: int | None = None,
    max_failures: float = 0.05,
    tell: Teller | None = None,
) -> Answered:
    """Answer every question with and without the reranker, and as the policy decides.

    Judgements that the data may have are not looked at.

    Args:
        query_ids: which questions; None: all.
        policy: None: the default one if it fits the scorer, else always reranking.
        k: candidates to read; None: the policy's.
        top_n: passages to hand over; None: the policy's.
        max_failures: share of the questions on which first stage or scorer may fail.

    Raises:
        SystemFailedError: first stage or scorer failed too often.
        PolicyError: the policy does not fit.
    """
    read, kept = sizes(k, top_n, policy, stage)
    lexicon = corpus_lexicon(data, stage)
    pool = read_questions(
        data,
        stage,
        scorer,
        data.query_ids() if query_ids is None else query_ids,
        k=read,
        lexicon=lexicon,
        max_failures=max_failures,
        tell=(lambda *_: None) if tell is None else tell,
    )
    arms = run_arms(
        pool,
        data,
        scorer=scorer.info,
        kind=kind_of(c for p in pool.values() for c in p.candidates),
        policy=policy,
        k=read,
        top_n=kept,
        profile=profile_of(stage),
        lexicon=lexicon,
        tune=False,
    )
    section = arms.policy.section(arms.kind)
    ways = {
        q: Ways(
            text=p.query,
            without=arms.shut[q],
            reranked=arms.opened[q],
            decided=arms.decided[q],
            threshold=section.gate.threshold,
            floor=section.floor,
        )
        for q, p in pool.items()
    }
    return Answered(ways=ways, k=read, top_n=kept, policy=arms.policy.name)
