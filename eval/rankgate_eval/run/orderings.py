"""The arms: what each way of ordering makes of the same candidates.

`rerank` and `policy` are run by the engine's own `Reranker`, over a scorer that says again what
the pool has heard. So what is measured is what ships: gate, relevance models, fallbacks, floor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate.decide.gate import Action
from rankgate.errors import ScorerError
from rankgate.outcome import Outcome
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.reranker import Reranker
from rankgate.scorers import ScoreContext, ScorerInfo, Scores
from rankgate.types import Dropped, FirstStageKind, Path
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.fusion_fit import CrossfitFusion, crossfit_fusion
from rankgate_eval.run.metrics import measure
from rankgate_eval.run.pool import Pooled

Order = tuple[str, ...]


class ReplayScorer:
    """Says what the pool has heard from the scorer, for the query that is set.

    Args:
        info: of the scorer that was heard.

    Attributes:
        pooled: the query whose scores are said next.
    """

    def __init__(self, info: ScorerInfo) -> None:
        self.info = info
        self.pooled: Pooled | None = None

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """The scores of the set query.

        Raises:
            ScorerError: the scorer had failed on it, or no query is set.
        """
        if self.pooled is None:
            raise ScorerError("no query is set to replay")
        if self.pooled.scorer_error is not None:
            raise ScorerError(self.pooled.scorer_error)
        return self.pooled.scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Every query in every arm.

    Attributes:
        orders: arm to query id to passage ids, best first, as they are served: what the second
            stage ordered, and behind it what was found beyond k, in first-stage order. After the
            policy's floor: none of a refused query, and without what `drop_below` takes away.
        ranked: likewise of the policy's arms, before the floor.
        latency_ms: arm to query id to milliseconds; failed queries have none.
        decided: query id to the policy's outcome.
        opened: query id to the outcome of always reranking.
        shut: query id to the outcome of skipping.
        tuned_note: what the tuned first stage is, in a sentence.
        policy: that ran, as it was given; k and top_n are the experiment's.
        kind: section of it that was used.
    """

    orders: Mapping[str, Mapping[str, Order]]
    ranked: Mapping[str, Mapping[str, Order]]
    latency_ms: Mapping[str, Mapping[str, float]]
    decided: Mapping[str, Outcome]
    opened: Mapping[str, Outcome]
    shut: Mapping[str, Outcome]
    tuned_note: str
    fusion: CrossfitFusion
    policy: Policy
    kind: FirstStageKind


def run_arms(
    pool: Mapping[str, Pooled],
    data: Dataset,
    *,
    scorer: ScorerInfo,
    kind: FirstStageKind,
    policy: Policy | None,
    k: int,
    top_n: int,
    profile: Profile | None = None,
    lexicon: Collection[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    tune: bool = True,
) -> Arms:
    """Order every query of the pool in every arm.

    Args:
        pool: what was read, scored to depth `k`.
        kind: which scores all candidates carry.
        policy: None: the default one if it fits the scorer, else always reranking.
        k: candidates that the second stage reads.
        profile: what is known of the first stage; the policy must have been fitted for it.
        tune: False where nobody reads `tuned_first_stage`: it is then the first stage as it came.

    Raises:
        PolicyError: the policy has no section for `kind`.
        ProfileMismatchError: the policy was fitted for another scorer or first stage.
    """
    replay = ReplayScorer(scorer)
    parts: dict[str, Any] = {"first_stage": kind, "profile": profile, "lexicon": lexicon}
    reranker = Reranker(replay, policy=policy, **parts)
    # A deadline is for requests that somebody waits for; replaying takes no time at all.
    chosen = reranker.policy
    used = chosen.with_section(kind, k=k, top_n=top_n, deadline_ms=None)
    reranker = Reranker(replay, policy=used, **parts)
    for pooled in list(pool.values())[:1]:  # the first call pays for what is loaded on first use
        replay.pooled = pooled
        reranker.rerank(pooled.query, pooled.candidates)
    decided: dict[str, Outcome] = {}
    opened: dict[str, Outcome] = {}
    shut: dict[str, Outcome] = {}
    for query_id, pooled in pool.items():
        replay.pooled = pooled
        candidates = pooled.candidates
        opened[query_id] = reranker.rerank(pooled.query, candidates, force=Action.RERANK)
        shut[query_id] = reranker.rerank(pooled.query, candidates, force=Action.SKIP)
        decided[query_id] = reranker.rerank(pooled.query, candidates)
    relevant = {q: data.relevant(q) for q in pool}
    fusion = (
        crossfit_fusion(pool, relevant, data.groups, folds=folds, seed=seed)
        if tune
        else CrossfitFusion(
            orders={q: tuple(c.id for c in p.candidates) for q, p in pool.items()},
            fusions=(),
            note="not tuned: the first stage as it came",
        )
    )
    came = {q: tuple(c.id for c in p.found.candidates) for q, p in pool.items()}
    tuned = {q: _whole(p, fusion.orders[q]) for q, p in pool.items()}
    note = fusion.note or f"refitted on these candidates' scores, cross-fitted by {fusion.unit}"
    if not fusion.note and _worse(data, tuned, came):
        # The stronger of the two is what a reranker has to beat.
        tuned, note = came, "no refitted order was better: this is the first stage as it came"
    by_policy = {"skipped": shut, "rerank": opened, "policy": decided}
    return Arms(
        orders={
            "first_stage": came,
            "tuned_first_stage": tuned,
            **{
                arm: {q: _served(p, found[q]) for q, p in pool.items()}
                for arm, found in by_policy.items()
            },
        },
        ranked={
            arm: {q: _whole(p, _ranked(found[q])) for q, p in pool.items()}
            for arm, found in by_policy.items()
        },
        latency_ms=_latencies(pool, by_policy),
        decided=decided,
        opened=opened,
        shut=shut,
        tuned_note=note,
        fusion=fusion,
        policy=chosen,
        kind=kind,
    )


def served_order(outcome: Outcome) -> Order:
    """What a reader of as many passages as he likes would get: ranking metrics cut it.

    None where the query is refused.
    """
    if outcome.refused:
        return ()
    return tuple(p.candidate.id for p in outcome.passages if p.dropped is not Dropped.BELOW_FLOOR)


def _served(pooled: Pooled, outcome: Outcome) -> Order:
    """With what was found beyond k, unless better than that was dropped."""
    left = served_order(outcome)
    return _whole(pooled, left) if len(left) == len(outcome.passages) else left


def _ranked(outcome: Outcome) -> Order:
    """All candidates in final order, as if nothing had been refused or dropped."""
    return tuple(p.candidate.id for p in outcome.passages)


def _whole(pooled: Pooled, order: Order) -> Order:
    """With what was found beyond the candidates behind it."""
    return order + tuple(c.id for c in pooled.found.candidates[len(pooled.candidates) :])


def _worse(data: Dataset, tuned: Mapping[str, Order], came: Mapping[str, Order]) -> bool:
    queries = [q for q in came if data.relevant(q)]
    if not queries:
        return False
    names = ["ndcg@10"]
    before, after = (measure(data.qrels, o, queries, names=names) for o in (came, tuned))
    return after.mean("ndcg@10") < before.mean("ndcg@10") - 1e-12


def _latencies(
    pool: Mapping[str, Pooled], by_policy: Mapping[str, Mapping[str, Outcome]]
) -> dict[str, dict[str, float]]:
    """First stage, plus the engine's own time, plus the scorer's where it ran."""
    timed = {q: p for q, p in pool.items() if p.found.error is None}
    first = {q: p.first_stage_ms for q, p in timed.items()}

    def behind(outcomes: Mapping[str, Outcome]) -> dict[str, float]:
        found = {}
        for q, p in timed.items():
            ran = "score" in outcomes[q].timings_ms
            own = outcomes[q].timings_ms["total"]
            found[q] = p.first_stage_ms + own + (p.scorer_ms if ran else 0.0)
        return found

    return {
        "first_stage": first,
        # Other weights take the same time.
        "tuned_first_stage": first,
        **{arm: behind(outcomes) for arm, outcomes in by_policy.items()},
    }


def path_counts(outcomes: Mapping[str, Outcome], queries: Sequence[str]) -> dict[str, int]:
    """How many of these queries took each path."""
    counts = Counter(outcomes[q].path for q in queries)
    return {path.value: counts[path] for path in Path}
