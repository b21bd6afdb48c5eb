"""From an experiment to a result: every number with its interval, and the verdict.

Every arm is measured as it is served, after the floor: a question that is refused gets nothing,
and so counts 0. What the floor takes by that, and what it gives, is told beside it (`Refusals`).
What judges the gate and the scorer alone is measured before the floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rankgate.types import Path
from rankgate_eval.data.fingerprint import fingerprint
from rankgate_eval.result.parts import ArmResult, HeadroomResult
from rankgate_eval.result.result import ARMS, BASELINES, Result
from rankgate_eval.result.rows import DataResult, Diagnosed, Made, QueryLists, QueryRow
from rankgate_eval.run.collect import reached_depth
from rankgate_eval.run.experiment import Experiment
from rankgate_eval.run.latency import check_budget, summarise_latency
from rankgate_eval.run.metrics import METRICS, headroom, measure
from rankgate_eval.run.orderings import path_counts
from rankgate_eval.run.trust import reliability_of
from rankgate_eval.stats.significance import Difference
from rankgate_eval.stats.strata import StrataReport, compare_strata, stratify
from rankgate_eval.verdict.diagnosis import Observations, diagnose
from rankgate_eval.verdict.fairness import shared_questions, upside_down
from rankgate_eval.verdict.frontier import measure_frontier
from rankgate_eval.verdict.holes import counted_0_note, holes_warning
from rankgate_eval.verdict.listings import (
    listed_snippets,
    moved_lists,
    query_lists,
    worst_queries,
)
from rankgate_eval.verdict.recall import alternative_recall, measure_recall
from rankgate_eval.verdict.refusals import count_refusals, floor_sentence, unanswerable_rows
from rankgate_eval.verdict.sections import (
    change,
    estimate,
    interval,
    rate,
    strata_result,
)
from rankgate_eval.verdict.verdict import Evidence, Over, judge

PAIRS = (
    *(("policy", arm) for arm in BASELINES),
    ("policy", "first_stage"),
    ("policy", "rerank"),
    *(("rerank", arm) for arm in BASELINES),
    ("rerank", "first_stage"),
    ("skipped", "tuned_first_stage"),
    ("tuned_first_stage", "first_stage"),
)
"""What is compared, after and before; the first ones decide."""
# Reasons for skipping that are no gate's doing.
_NO_CHOICE = frozenset({"no_candidates", "empty_query", "single_candidate"})
_TOLD = ("first_stage", "policy")  # arms whose averages over unjudged queries too are told
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """Per judged query: metrics of each arm as served, and the primary ones before the floor."""

    values: Mapping[str, Mapping[str, FloatArray]]
    ranked: Mapping[str, Mapping[str, FloatArray]]
    clusters: tuple[str, ...]
    missing: Mapping[str, int]


def analyse(
    experiment: Experiment, *, made: Made, report: DataResult, warnings: Sequence[str] = ()
) -> Result:
    """Every section of the result.

    Args:
        warnings: sentences that stand before those found here.
    """
    e, asked = experiment, experiment.settings
    judged = list(e.judged)
    numbers = _measure(e)
    primary = ("ndcg@10", f"recall@{e.top_n}")
    draws = asked.draws

    def compared(
        before: Mapping[str, FloatArray], after: Mapping[str, FloatArray]
    ) -> dict[str, Difference]:
        return {m: asked.compare(before[m], after[m], numbers.clusters) for m in primary}

    differences = {
        f"{after}-{before}": compared(numbers.values[before], numbers.values[after])
        for after, before in PAIRS
    }
    cost = compared(numbers.ranked["policy"], numbers.values["policy"])
    ndcg = {arm: numbers.values[arm]["ndcg@10"] for arm in ARMS}
    baselines = sorted(BASELINES, key=lambda arm: -float(ndcg[arm].mean()))
    strata = _strata(e, ndcg[baselines[0]], ndcg["policy"], numbers.clusters)
    skipped = sum(
        e.arms.decided[q].path is Path.SKIPPED and e.arms.decided[q].path_reason not in _NO_CHOICE
        for q in judged
    )
    skip_rate = skipped / len(judged)
    times = {
        arm: [timed[q] for q in judged if q in timed] for arm, timed in e.arms.latency_ms.items()
    }
    budget = (
        None
        if asked.budget_ms is None or not times["policy"]
        else check_budget(times["policy"], asked.budget_ms)
    )
    shared = shared_questions(
        e.arms.policy,
        e.arms.kind,
        [e.data.queries[q] for q in judged],
        name=e.data.name,
        split=e.split,
        fingerprint=fingerprint(e.data, judged),
    )
    came = e.arms.orders["first_stage"]
    turned = upside_down(e.data.qrels, came, judged, numbers.clusters, asked)
    doubts = [turned, None if shared is None else shared.sentence]
    unfair = [turned, shared.sentence if shared is not None and shared.unfair else None]
    rows = unanswerable_rows(e.data, e.unanswerable, e.arms.decided, fields=asked.fields)
    refusals = count_refusals(
        e.data,
        e.pool,
        e.arms.decided,
        judged,
        rows,
        section=e.arms.policy.section(e.arms.kind),
        cost={name: change(found) for name, found in cost.items()},
    )
    verdict = judge(
        Evidence(
            over=tuple(
                Over(
                    name=BASELINES[arm],
                    ndcg=differences[f"policy-{arm}"]["ndcg@10"],
                    recall=differences[f"policy-{arm}"][primary[1]],
                )
                for arm in baselines
            ),
            top_n=e.top_n,
            skip_rate=skip_rate,
            floor=floor_sentence(refusals, top_n=e.top_n),
            strata=strata,
            latency=budget,
            listed=sum(bool(e.pool[q].found.candidates) for q in judged),
            unfair=" ".join(filter(None, unfair)) or None,
        ),
        asked.standards,
    )
    curve = measure_recall(
        e.data.qrels,
        came,
        judged,
        numbers.clusters,
        depth=e.depth,
        also=(e.k, e.top_n),
        **draws,
    )
    room = _headroom(e, numbers)
    inversions, lifts = moved_lists(
        e.data, e.arms, judged, before="first_stage", after="policy", top_n=e.top_n
    )
    moved = dict(zip(judged, np.abs(ndcg["policy"] - ndcg["first_stage"]), strict=True))
    lists = {  # what changed most first
        q: query_lists(e.pool[q], e.arms.decided[q], set(e.data.relevant(q)))
        for q in sorted((*judged, *e.unanswerable), key=lambda q: -moved.get(q, 0.0))
    }
    ranked = {arm: found["ndcg@10"] for arm, found in numbers.ranked.items()}
    gap = compared(numbers.values["first_stage"], numbers.ranked["rerank"])["ndcg@10"]
    return Result(
        verdict=verdict.call,
        baseline=baselines[0],
        reasons=verdict.reasons,
        queries_needed=verdict.queries_needed,
        n=len(judged),
        clusters=len(set(numbers.clusters)),
        data=report,
        arms={
            arm: ArmResult.of(
                {
                    name: estimate(column, numbers.clusters, **draws)
                    for name, column in numbers.values[arm].items()
                },
                latency_ms=summarise_latency(times[arm]) if times[arm] else None,
                note=e.arms.tuned_note if arm == "tuned_first_stage" else "",
                missing=numbers.missing[arm],
                false_refusals=rate(sum(not e.arms.orders[arm][q] for q in judged), len(judged)),
                false_answers=rate(
                    sum(bool(e.arms.orders[arm][q]) for q in e.unanswerable), len(e.unanswerable)
                ),
            )
            for arm in ARMS
        },
        differences={
            pair: {name: change(d) for name, d in found.items()}
            for pair, found in differences.items()
        },
        recall_curve=curve,
        headroom=room,
        precision_gap=change(gap),
        inversions=inversions,
        lifts=lifts,
        skip_rate=skip_rate,
        paths=path_counts(e.arms.decided, judged),
        refusals=refusals,
        strata=None if strata is None else strata_result(strata),
        reliability={
            "top_1": reliability_of(e, rows, top=1),
            "top_n": reliability_of(e, rows, top=e.top_n),
        },
        frontier=measure_frontier(
            e.arms.decided,
            judged,
            numbers.clusters,
            opened=ranked["rerank"],
            shut=ranked["skipped"],
            decided=ranked["policy"],
            skip_rate=skip_rate,
            **draws,
        ),
        budget=budget,
        worst_queries=worst_queries(
            e.data,
            e.pool,
            e.arms,
            judged,
            [float(v) for v in ndcg["first_stage"]],
            [float(v) for v in ndcg["policy"]],
        ),
        diagnosis=_diagnosis(
            e,
            {p.depth: p.recall for p in curve.points},
            room.mean,
            gap,
        ),
        warnings=(
            *warnings,
            *(d for d in doubts if d is not None and not any(d in r for r in verdict.reasons)),
            *counted_0_note(e.data, e.split, {arm: numbers.values[arm] for arm in _TOLD}, primary),
            *holes_warning(e.data, judged, numbers.values, numbers.clusters, **draws),
            *_warnings(e),
        ),
        made=made,
        per_query=_rows(e, numbers, primary, strata, lists),
        unanswerable=tuple(replace(row, lists=lists[row.query_id]) for row in rows),
        snippets=listed_snippets(e.data, lists.values()),
    )


def _measure(e: Experiment) -> _Numbers:
    judged = list(e.judged)
    # What was not retrieved so deep cannot be measured so deep.
    names = [m for m in METRICS if m != "recall@100" or e.depth >= 100]
    top = f"recall@{e.top_n}"
    arms = {
        arm: measure(e.data.qrels, e.arms.orders[arm], judged, names=[*names, top]) for arm in ARMS
    }
    return _Numbers(
        values={arm: found.values for arm, found in arms.items()},
        ranked={
            arm: measure(e.data.qrels, orders, judged, names=["ndcg@10", top]).values
            for arm, orders in e.arms.ranked.items()
        },
        clusters=tuple(e.data.group_of(q) for q in judged),
        missing={arm: len(found.missing) for arm, found in arms.items()},
    )


def _strata(
    e: Experiment, before: FloatArray, after: FloatArray, clusters: Sequence[str]
) -> StrataReport | None:
    strata = stratify(
        [e.data.queries[q] for q in e.judged],
        lexicon=e.lexicon,
        signals=[e.pool[q].signals for q in e.judged],
        fields=e.data.columns(e.settings.fields, e.judged),
    )
    alpha, tests = e.settings.standards.alpha, e.settings.tests
    return compare_strata(before, after, strata, e.judged, clusters, alpha=alpha, **tests)


def _headroom(e: Experiment, numbers: _Numbers) -> HeadroomResult:
    room = headroom(e.data.qrels, e.arms.orders["first_stage"], e.judged, k=e.k, top_n=e.top_n)
    top = f"recall@{e.top_n}"
    won = float((numbers.values["policy"][top] - numbers.values["first_stage"][top]).mean())
    return HeadroomResult(
        k=e.k,
        top_n=e.top_n,
        attainable=float(room.attainable.mean()),
        first_stage=float(room.first_stage.mean()),
        mean=room.mean,
        ci=interval(room.per_query, numbers.clusters, **e.settings.draws),
        used=won / room.mean if room.mean > 1e-12 else None,
    )


def _diagnosis(
    e: Experiment, recall: Mapping[int, float], room: float, gain: Difference
) -> tuple[Diagnosed, ...]:
    return diagnose(
        Observations(
            recall=recall,
            k=e.k,
            top_n=e.top_n,
            headroom=room,
            gain=gain,
            alternatives=alternative_recall(e.stage, e.data, e.judged, depth=e.depth),
        )
    )


def _warnings(e: Experiment) -> list[str]:
    found: list[str] = []
    failed = [q for q, p in e.pool.items() if p.found.error is not None]
    if failed:
        first = e.pool[failed[0]].found.error
        found.append(
            f"The first stage failed on {len(failed)} queries, which count 0 in every arm; "
            f"first: {failed[0]!r}: {first}"
        )
    _, shallow = reached_depth(
        [p.found for p in e.pool.values()],
        k=e.k,
        depth=max(e.k, e.settings.depth),
        max_failures=e.settings.max_failures,
    )
    found += [] if shallow is None else [shallow]
    broken = [q for q, p in e.pool.items() if p.scorer_error is not None]
    if broken:
        found.append(
            f"The scorer failed on {len(broken)} queries, which fall back to the first stage; "
            f"first: {broken[0]!r}: {e.pool[broken[0]].scorer_error}"
        )
    unknown = sum(p.found.unknown for p in e.pool.values())
    if unknown:
        found.append(
            f"{unknown} results have an id that the corpus does not have; they count as irrelevant."
        )
    notes = {note for o in e.arms.decided.values() for note in o.notes}
    found += sorted(f"The engine notes: {note}." for note in notes)
    return found


def _rows(
    e: Experiment,
    numbers: _Numbers,
    primary: Sequence[str],
    strata: StrataReport | None,
    lists: Mapping[str, QueryLists],
) -> tuple[QueryRow, ...]:
    kinds: list[list[str]] = [[] for _ in e.judged]
    for stratum in () if strata is None else strata.results:
        for i in stratum.members:
            kinds[i].append(stratum.key)
    rows = []
    for i, query_id in enumerate(e.judged):
        pooled, outcome = e.pool[query_id], e.arms.decided[query_id]
        rows.append(
            QueryRow(
                query_id=query_id,
                query=e.data.queries[query_id],
                group=numbers.clusters[i],
                path=outcome.path.value,
                reason=outcome.path_reason,
                refused=outcome.refused,
                error=pooled.found.error or pooled.scorer_error or "",
                harm=outcome.decision.harm,
                best=outcome.best_probability,
                values={
                    arm: {name: float(numbers.values[arm][name][i]) for name in primary}
                    for arm in ARMS
                },
                first_stage_ms=pooled.first_stage_ms,
                decision_ms=outcome.timings_ms["total"],
                scorer_ms=pooled.scorer_ms,
                strata=tuple(kinds[i]),
                lists=lists[query_id],
            )
        )
    return tuple(rows)
