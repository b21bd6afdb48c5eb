"""Several rerankers, each at several K: read, timed, tested.

What is done without a scorer is made of as many candidates as the policy asks for (or the usual
number), whatever the scorers read: a deeper list would be another opponent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rankgate.errors import InputError
from rankgate.outcome import Outcome
from rankgate.plan import kind_of
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.scorers import Scorer, ScorerInfo
from rankgate.types import FirstStageKind
from rankgate_eval.comparison.choice import (
    RULE,
    Columns,
    Tested,
    against,
    choose,
    order_name,
    pairs_of,
    sentence_of,
)
from rankgate_eval.comparison.cost import Tariff, cost_of
from rankgate_eval.comparison.points import Comparison, Cost, Point
from rankgate_eval.comparison.policies import assign, shared_first_stage
from rankgate_eval.comparison.reading import Lists, Reader, Unread, retrieve, timed
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.fingerprint import fingerprint
from rankgate_eval.result.parts import Rate
from rankgate_eval.run.experiment import (
    EvalSettings,
    Teller,
    choose_queries,
    corpus_lexicon,
    passages_kept,
    sizes,
)
from rankgate_eval.run.latency import check_budget, summarise_latency
from rankgate_eval.run.metrics import measure
from rankgate_eval.run.orderings import Arms, run_arms
from rankgate_eval.run.pool import Pooled
from rankgate_eval.run.system import FirstStage
from rankgate_eval.run.system_choice import profile_of
from rankgate_eval.verdict.fairness import shared_questions, upside_down
from rankgate_eval.verdict.holes import counted_0_note
from rankgate_eval.verdict.recall import measure_recall
from rankgate_eval.verdict.sections import change, estimate, rate
from rankgate_eval.verdict.verdict import Evidence, judge

DEFAULT_KS = (5, 10, 20, 30, 50, 75, 100)


def compare_scorers(
    data: Dataset,
    stage: FirstStage,
    scorers: Mapping[str, Scorer],
    *,
    policies: Sequence[Policy] = (),
    split: str | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    settings: EvalSettings | None = None,
    tariffs: Mapping[str, Tariff] | None = None,
    cpu_hour_usd: float | None = None,
    made: Mapping[str, Any] | None = None,
    tell: Teller | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Measure every scorer at every K, test it, and say which to take.

    Args:
        scorers: name to scorer, at least one.
        policies: each for the scorer that it was fitted for. A scorer without one has the default
            one if that fits, else it always reranks.
        split: None: all queries.
        ks: candidates to read; those below top_n are left out.
        settings: how to measure; its `k` is that of the baseline alone.
        cpu_hour_usd: price of an hour of one processor, for scorers without a price.
        made: how this was called, for the record.

    Raises:
        InputError: no scorer, no K, nothing judged, or policies that cannot share a first stage.
        ProfileMismatchError: a policy was fitted for none of the scorers.
        SystemFailedError: first stage or scorer failed too often.
    """
    asked = EvalSettings() if settings is None else settings
    first = shared_first_stage(policies)
    top_n, wanted = readable(ks, asked.top_n, first, stage)
    if not scorers:
        raise InputError("a comparison needs a scorer, got none")
    judged, unanswerable = choose_queries(data, split, asked.limit)
    say: Teller = (lambda what, done, total: None) if tell is None else tell
    lists = retrieve(
        data,
        stage,
        [*judged, *unanswerable],
        deepest=wanted[-1],
        k=sizes(asked.k, top_n, first, stage)[0],
        asked=asked,
        say=say,
        clock=clock,
    )
    kind = kind_of(c for f in lists.base.found.values() for c in f.candidates[: lists.k])
    clusters = [data.group_of(q) for q in judged]
    at_work = _Measuring(
        data=data,
        judged=judged,
        unanswerable=unanswerable,
        clusters=clusters,
        split=split,
        lists=lists,
        kind=kind,
        top_n=top_n,
        settings=asked,
        reader=Reader(
            sample=timed(judged),
            lexicon=corpus_lexicon(data, stage),
            max_failures=asked.max_failures,
            tell=say,
            clock=clock,
        ),
        profile=profile_of(stage),
        cpu_hour_usd=cpu_hour_usd,
        notes=[*getattr(stage, "notes", ()), *counted_0_note(data, split, {}, ()), *lists.notes],
    )
    fitted = assign(scorers, policies, kind=kind, profile=at_work.profile, notes=at_work.notes)
    for name, scorer in scorers.items():
        at_work.without(scorer.info, fitted[name])
    for name, scorer in scorers.items():
        at_work.add(name, scorer, fitted[name], wanted, (tariffs or {}).get(name))
    came = {q: [c.id for c in f.candidates] for q, f in lists.base.found.items()}
    turned = upside_down(data.qrels, came, judged, clusters, asked)
    at_work.notes += [] if turned is None else [turned]
    points, columns, baseline = at_work.judged_points(
        unfair=turned, listed=sum(bool(came.get(q)) for q in judged)
    )
    choice = choose(points, columns, clusters)
    return Comparison(
        n=len(judged),
        clusters=len(set(clusters)),
        top_n=top_n,
        baseline=baseline,
        baseline_k=lists.k,
        recall_curve=measure_recall(
            data.qrels,
            came,
            judged,
            clusters,
            depth=lists.depth,
            also=(top_n, lists.k, *wanted),
            **asked.draws,
        ),
        points=points,
        pairs=pairs_of(points, columns, clusters, asked),
        budget_ms=asked.budget_ms,
        best=choice.best,
        taken=choice.taken,
        rule=RULE,
        sentence=sentence_of(choice, points, baseline=baseline, budget_ms=asked.budget_ms),
        notes=tuple(dict.fromkeys(at_work.notes)),
        made={} if made is None else dict(made),
    )


def readable(
    ks: Sequence[int], top_n: int | None, policy: Policy | None, stage: FirstStage | None = None
) -> tuple[int, list[int]]:
    """top_n, and the K that can be read for it, rising.

    Raises:
        InputError: none can.
    """
    kept = passages_kept(top_n, policy, stage)
    wanted = sorted({k for k in ks if k >= kept})
    if not wanted:
        raise InputError(f"a comparison needs a K of at least top_n ({kept}), got {list(ks)}")
    return kept, wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A point before it is tested."""

    scorer: str
    k: int
    arm: str
    policy: str
    columns: Columns
    false_refusals: Rate
    false_answers: Rate
    skip_rate: float
    times: tuple[float, ...]
    cost: Cost | None = None
    unfair: str | None = None


@dataclass(slots=True, kw_only=True)
class _Measuring:
    """A comparison on its way."""

    data: Dataset
    judged: list[str]
    unanswerable: list[str]
    clusters: list[str]
    split: str | None
    lists: Lists
    kind: FirstStageKind
    top_n: int
    settings: EvalSettings
    reader: Reader
    profile: Profile
    cpu_hour_usd: float | None
    notes: list[str]
    rows: list[_Row] = field(default_factory=list)

    def without(self, info: ScorerInfo, policy: Policy | None) -> None:
        """The orders that need no scorer; of a further policy what is new."""
        pool = self.reader.score(
            Unread(info), self.lists.base, self.lists.k, "ordering without scorer"
        )
        arms = self._arms(pool, info, policy, self.lists.k, tune=not self.rows)
        timed_ms = arms.latency_ms["first_stage"]  # not of where it failed
        times = tuple(timed_ms[q] for q in self.judged if q in timed_ms)
        for arm in ("skipped",) if self.rows else ("first_stage", "tuned_first_stage", "skipped"):
            row = _Row(
                scorer="",
                k=0,
                arm=arm,
                policy=arms.policy.name if arm == "skipped" else "",
                **self._measured(arms.orders[arm]),
                skip_rate=1.0,
                times=times,
            )
            if arm != "skipped" or not any(row.columns.same_as(r.columns) for r in self.rows):
                self.rows.append(row)

    def add(
        self,
        name: str,
        scorer: Scorer,
        policy: Policy | None,
        ks: Sequence[int],
        tariff: Tariff | None,
    ) -> None:
        """Measure one scorer at every K."""
        sample = self.reader.sample
        for k, pool, follows in self.reader.at_each(scorer, self.lists.read, ks, name):
            if not follows:
                self.notes.append(
                    f"{name} does not score each passage by itself; every list was read at every K"
                )
            arms = self._arms(pool, scorer.info, policy, k)
            shared = shared_questions(
                arms.policy,
                arms.kind,
                [self.data.queries[q] for q in self.judged],
                name=self.data.name,
                split=self.split,
                fingerprint=fingerprint(self.data, self.judged),
            )
            if shared is not None:
                self.notes.append(shared.sentence)
            always = arms.orders["policy"] == arms.orders["rerank"]
            if always and _read(arms.decided, self.judged) == _read(arms.opened, self.judged):
                self.notes.append(
                    f"The policy of {name} ({arms.policy.name}) skips nothing: it is always "
                    "reranking"
                )
                ran = {"rerank": arms.opened}
            else:
                ran = {"rerank": arms.opened, "policy": arms.decided}
            for arm, outcomes in ran.items():
                share = _read(outcomes, self.judged)
                times = arms.latency_ms[arm]
                self.rows.append(
                    _Row(
                        scorer=name,
                        k=k,
                        arm=arm,
                        policy=arms.policy.name,
                        **self._measured(arms.orders[arm]),
                        skip_rate=1.0 - share,
                        times=tuple(times[q] for q in sample if q in times),
                        cost=cost_of(
                            [pool[q] for q in sample],
                            scored=share,
                            tariff=tariff,
                            cpu_hour_usd=self.cpu_hour_usd,
                            remote=scorer.info.backend == "http",
                        ),
                        unfair=shared.sentence if shared is not None and shared.unfair else None,
                    )
                )

    def judged_points(
        self, *, unfair: str | None, listed: int
    ) -> tuple[tuple[Point, ...], list[Columns], int]:
        """All points, tested and judged; their columns; the position of the baseline.

        Args:
            unfair: why no point's test is a fair one.
            listed: judged queries that the first stage has a list for.
        """
        free = [i for i, r in enumerate(self.rows) if not r.scorer and r.arm != "first_stage"]
        free.sort(key=lambda i: -float(self.rows[i].columns.ndcg.mean()))
        scored = [i for i, r in enumerate(self.rows) if r.scorer]
        tested = against(
            [self.rows[i].columns for i in scored],
            [(order_name(r.arm, r.policy), r.columns) for r in (self.rows[i] for i in free)],
            self.clusters,
            self.settings,
        )
        results = dict(zip(scored, tested, strict=True))
        points = tuple(
            self._point(r, results.get(i), unfair, listed) for i, r in enumerate(self.rows)
        )
        return points, [r.columns for r in self.rows], free[0]

    def _point(self, row: _Row, tested: Tested | None, unfair: str | None, listed: int) -> Point:
        latency, budget_ms = summarise_latency(row.times), self.settings.budget_ms
        draws = self.settings.draws
        verdict = None
        if tested is not None:
            verdict = judge(
                Evidence(
                    over=tuple(
                        replace(o, ndcg=replace(o.ndcg, p=tested.adjusted_p), holm=True)
                        for o in tested.over
                    ),
                    top_n=self.top_n,
                    skip_rate=row.skip_rate,
                    latency=None if budget_ms is None else check_budget(row.times, budget_ms),
                    unfair=unfair or row.unfair,
                    listed=listed,
                ),
                self.settings.standards,
            )
        return Point(
            scorer=row.scorer,
            k=row.k,
            arm=row.arm,
            policy=row.policy,
            ndcg=estimate(row.columns.ndcg, self.clusters, **draws),
            recall=estimate(row.columns.recall, self.clusters, **draws),
            false_refusals=row.false_refusals,
            false_answers=row.false_answers,
            gain=None if tested is None else change(tested.over[0].ndcg),
            recall_gain=None if tested is None else change(tested.over[0].recall),
            adjusted_p=None if tested is None else tested.adjusted_p,
            call=None if verdict is None else verdict.call,
            reason="" if verdict is None else verdict.reasons[0],
            skip_rate=row.skip_rate,
            latency_ms=latency,
            inside=None if budget_ms is None or latency.p95 is None else latency.p95 <= budget_ms,
            cost=row.cost,
        )

    def _arms(
        self,
        pool: Mapping[str, Pooled],
        info: ScorerInfo,
        policy: Policy | None,
        k: int,
        *,
        tune: bool = False,
    ) -> Arms:
        return run_arms(
            pool,
            self.data,
            scorer=info,
            kind=kind_of(c for p in pool.values() for c in p.candidates),
            policy=policy,
            k=k,
            top_n=self.top_n,
            profile=self.profile,
            lexicon=self.reader.lexicon,
            folds=self.settings.folds,
            seed=self.settings.seed,
            tune=tune,
        )

    def _measured(self, order: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        names = ("ndcg@10", f"recall@{self.top_n}")
        found = measure(self.data.qrels, order, self.judged, names=names)
        refused = sum(not order[q] for q in self.judged)
        answered = sum(bool(order[q]) for q in self.unanswerable)
        return {
            "columns": Columns(ndcg=found.column(names[0]), recall=found.column(names[1])),
            "false_refusals": rate(refused, len(self.judged)),
            "false_answers": rate(answered, len(self.unanswerable)),
        }


def _read(outcomes: Mapping[str, Outcome], queries: Sequence[str]) -> float:
    """Share of the queries that the scorer read."""
    return sum("score" in outcomes[q].timings_ms for q in queries) / len(queries)
