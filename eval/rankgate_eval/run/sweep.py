"""The sweep: how many candidates to read, with which scorer, for which latency.

Every scorer reads the deepest list of every query once. What it would say of a shorter list is
then known, as long as it scores each passage by itself; that is checked on the timed queries,
and a scorer of which it does not hold reads every list at every K.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python

from rankgate.errors import InputError
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.scorers import Scorer, Scores
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.result.parts import Estimate, LatencyResult, RecallCurve
from rankgate_eval.run.collect import Collected, collect
from rankgate_eval.run.experiment import (
    EvalSettings,
    Teller,
    choose_queries,
    corpus_lexicon,
    passages_kept,
    prepare,
)
from rankgate_eval.run.latency import summarise_latency
from rankgate_eval.run.metrics import measure, recall_curve
from rankgate_eval.run.orderings import Arms, run_arms
from rankgate_eval.run.pool import Pooled, score_pool
from rankgate_eval.run.system import FirstStage
from rankgate_eval.run.system_choice import kind_of, profile_of
from rankgate_eval.stats.significance import compare
from rankgate_eval.verdict.recall import measure_recall, reached_depth
from rankgate_eval.verdict.sections import estimate

__all__ = ["DEFAULT_KS", "SweepPoint", "SweepResult", "run_sweep"]

DEFAULT_KS = (5, 10, 20, 30, 50, 75, 100)
_TIMED = 100
_SAME = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """One way to run the second stage.

    Attributes:
        scorer: its id; "" for the first stage alone.
        k: candidates read; 0 for the first stage alone.
        arm: `first_stage`, `tuned_first_stage`, `rerank` (always) or `policy`.
        ndcg: nDCG@10.
        recall: recall@top_n.
        skip_rate: share of the queries that took no scoring.
        latency_ms: first stage and all behind it, over the timed queries.
        inside: whether p95 keeps the budget; None where there is none, or too few samples.
    """

    scorer: str
    k: int
    arm: str
    ndcg: Estimate
    recall: Estimate
    skip_rate: float
    latency_ms: LatencyResult
    inside: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What `rankgate eval sweep` found.

    Attributes:
        n: judged queries.
        clusters: their document groups.
        top_n: passages that are kept.
        recall_curve: of the first stage, with its knee.
        points: the first stages, then by scorer, K and arm.
        budget_ms: None where none was given.
        best: position in `points` of the highest nDCG@10 inside the budget; None where nothing
            keeps it.
        enough: position of the fastest point inside the budget whose nDCG@10 is not lower than
            the best one's by more than the standard error of their difference; None likewise.
        notes: what a reader should know.
        made: how: command, version, commit, seed, hardware, date, ...
    """

    n: int
    clusters: int
    top_n: int
    recall_curve: RecallCurve
    points: tuple[SweepPoint, ...]
    budget_ms: float | None
    best: int | None
    enough: int | None
    notes: tuple[str, ...]
    made: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain: dict[str, Any] = to_jsonable_python(self)
        return {"format": "rankgate-eval-sweep", "version": 1, **plain}


def run_sweep(
    data: Dataset,
    stage: FirstStage,
    scorers: Sequence[Scorer],
    *,
    policy: Policy | None = None,
    split: str | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    settings: EvalSettings | None = None,
    made: Mapping[str, Any] | None = None,
    tell: Teller | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> SweepResult:
    """Measure every scorer at every K.

    Args:
        data: the data set.
        stage: the first stage under test.
        scorers: at least one.
        policy: None: for each scorer the default one if it fits, else always reranking.
        split: None: all queries.
        ks: candidates to read.
        settings: how to measure; its `k` is not read.
        made: how this was called, for the record.
        tell: told of progress.
        clock: in seconds.

    Raises:
        InputError: no scorer, no K, or nothing judged.
        SystemFailedError: first stage or scorer failed too often.
    """
    asked = EvalSettings() if settings is None else settings
    top_n = passages_kept(asked.top_n, policy, stage)
    wanted = sorted({k for k in ks if k >= top_n})
    if not wanted or not scorers:
        raise InputError(f"a sweep needs a scorer and a K of at least top_n ({top_n})")
    judged, _ = choose_queries(data, split, asked.limit)
    say: Teller = (lambda what, done, total: None) if tell is None else tell
    depth = max(asked.depth, wanted[-1])
    collected = collect(
        stage,
        data,
        judged,
        k=wanted[-1],
        depth=depth,
        max_failures=asked.max_failures,
        progress=lambda done, total: say("retrieving", done, total),
        clock=clock,
    )
    depth, shallow = reached_depth(
        list(collected.found.values()), k=wanted[-1], depth=depth, max_failures=asked.max_failures
    )
    clusters = [data.group_of(q) for q in judged]
    sweep = _Sweep(
        data=data,
        judged=judged,
        clusters=clusters,
        top_n=top_n,
        settings=asked,
        lexicon=corpus_lexicon(data, stage),
        profile=profile_of(stage),
        policy=policy,
        say=say,
        clock=clock,
        points=[],
        columns=[],
        notes=[] if shallow is None else [shallow],
    )
    for scorer in scorers:
        sweep.add(scorer, collected, wanted)
    sweep.sort([scorer.info.id for scorer in scorers])
    came = {q: [c.id for c in f.candidates] for q, f in collected.found.items()}
    best, enough = sweep.choose()
    return SweepResult(
        n=len(judged),
        clusters=len(set(clusters)),
        top_n=top_n,
        recall_curve=measure_recall(
            data.qrels,
            came,
            judged,
            clusters,
            depth=depth,
            also=(top_n, *wanted),
            resamples=asked.resamples,
            seed=asked.seed,
        ),
        points=tuple(sweep.points),
        budget_ms=asked.budget_ms,
        best=best,
        enough=enough,
        notes=tuple(dict.fromkeys(sweep.notes)),
        made={} if made is None else dict(made),
    )


@dataclass(slots=True, kw_only=True)
class _Sweep:
    """A sweep on its way."""

    data: Dataset
    judged: list[str]
    clusters: list[str]
    top_n: int
    settings: EvalSettings
    lexicon: Any
    profile: Profile
    policy: Policy | None
    say: Teller
    clock: Callable[[], float]
    points: list[SweepPoint]
    columns: list[Any]
    notes: list[str]

    def add(self, scorer: Scorer, collected: Collected, ks: Sequence[int]) -> None:
        """Measure one scorer at every K."""
        deepest = ks[-1]
        prepare(scorer, collected, k=deepest, tell=self.say)
        whole = self._score(scorer, collected, deepest)
        step = max(1, len(self.judged) // _TIMED)
        timed = self.judged[::step]
        few = Collected(found={q: collected.found[q] for q in timed}, k=collected.k)
        for k in ks:
            if k == deepest:
                pool = whole
            else:
                read = self._score(scorer, few, k)
                if all(_agrees(whole[q], read[q]) for q in timed):
                    pool = {q: read[q] if q in read else _cut(p, k) for q, p in whole.items()}
                else:
                    self.notes.append(
                        f"{scorer.info.id} does not score each passage by itself; every list was "
                        "read at every K"
                    )
                    pool = self._score(scorer, collected, k)
            arms = run_arms(
                pool,
                self.data,
                scorer=scorer.info,
                kind=kind_of(c for p in pool.values() for c in p.candidates),
                policy=self.policy,
                k=k,
                top_n=self.top_n,
                profile=self.profile,
                lexicon=self.lexicon,
                folds=self.settings.folds,
                seed=self.settings.seed,
            )
            # Tuned on the deepest lists, by whichever scorer: it reads none of its scores.
            if k == deepest and not any(p.scorer == "" for p in self.points):
                for arm in ("first_stage", "tuned_first_stage"):
                    self._point(arms, timed, scorer="", k=0, arm=arm)
            for arm in ("rerank", "policy"):
                self._point(arms, timed, scorer=scorer.info.id, k=k, arm=arm)

    def _score(self, scorer: Scorer, collected: Collected, k: int) -> dict[str, Pooled]:
        return score_pool(
            collected,
            scorer=scorer,
            k=k,
            lexicon=self.lexicon,
            max_failures=self.settings.max_failures,
            progress=lambda done, total: self.say(
                f"scoring, {scorer.info.id}, K = {k}", done, total
            ),
            clock=self.clock,
        )

    def _point(self, arms: Arms, timed: Sequence[str], *, scorer: str, k: int, arm: str) -> None:
        order = arms.orders[arm]
        ndcg = measure(self.data.qrels, order, self.judged, names=["ndcg@10"]).column("ndcg@10")
        recall = recall_curve(self.data.qrels, order, self.judged, [self.top_n])[:, 0]
        times = [arms.latency_ms[arm][q] for q in timed if q in arms.latency_ms[arm]]
        latency = summarise_latency(times)
        budget = self.settings.budget_ms
        draws = {"resamples": self.settings.resamples, "seed": self.settings.seed}
        scored = [q for q in self.judged if "score" in arms.decided[q].timings_ms]
        shares = {"rerank": 0.0, "policy": 1.0 - len(scored) / len(self.judged)}
        self.points.append(
            SweepPoint(
                scorer=scorer,
                k=k,
                arm=arm,
                ndcg=estimate(ndcg, self.clusters, **draws),
                recall=estimate(recall, self.clusters, **draws),
                skip_rate=shares.get(arm, 1.0),
                latency_ms=latency,
                inside=None if budget is None or latency.p95 is None else latency.p95 <= budget,
            )
        )
        self.columns.append(ndcg)

    def sort(self, scorers: Sequence[str]) -> None:
        """The first stages in front, then by scorer as asked for, K and arm."""
        place = {"": -1, **{name: i for i, name in enumerate(scorers)}}
        order = sorted(
            range(len(self.points)),
            key=lambda i: (place[self.points[i].scorer], self.points[i].k, i),
        )
        self.points = [self.points[i] for i in order]
        self.columns = [self.columns[i] for i in order]

    def choose(self) -> tuple[int | None, int | None]:
        """The best point inside the budget, and the fastest that is as good."""
        bound = self.settings.budget_ms is not None
        able = [i for i, p in enumerate(self.points) if not bound or p.inside]
        if not able:
            return None, None
        # Of equally good ones the fastest.
        best = max(able, key=lambda i: (self.points[i].ndcg.mean, -self.points[i].latency_ms.mean))
        as_good = []
        for i in able:
            lost = compare(
                self.columns[i], self.columns[best], self.clusters, resamples=100, permutations=1
            )
            if lost.mean <= (lost.standard_error if np.isfinite(lost.standard_error) else 0.0):
                as_good.append(i)
        return best, min(as_good, key=lambda i: self.points[i].latency_ms.mean)


def _cut(pooled: Pooled, k: int) -> Pooled:
    """The pool's query as if only the first k candidates had been read; its time is unknown."""
    scores = Scores(
        values=pooled.scores.values[:k],
        scale=pooled.scores.scale,
        scored=pooled.scores.scored[:k],
        note=pooled.scores.note,
    )
    return replace(pooled, candidates=pooled.candidates[:k], scores=scores)


def _agrees(whole: Pooled, read: Pooled) -> bool:
    """Whether the shorter list got the same scores as in the longer one."""
    n = len(read.candidates)
    if whole.scores.order is not None or read.scores.order is not None:
        return False
    if whole.scorer_error is not None or read.scorer_error is not None:
        return whole.scorer_error == read.scorer_error
    return bool(
        np.array_equal(whole.scored[:n], read.scored)
        and np.allclose(whole.raw[:n], read.raw, atol=_SAME, rtol=_SAME)
    )
