"""Other systems' lists, compared: the first run is what the others have to be better than.

Nothing is retrieved or scored here, so nothing is known of gate, floor or latency. Metrics,
intervals, tests and the rule of the verdict are those of an evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import to_jsonable_python

from rankgate.decide.signals import query_words
from rankgate.errors import InputError
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.readers.run import Run
from rankgate_eval.result.call import Call
from rankgate_eval.result.parts import Change, Estimate, StrataResult
from rankgate_eval.run.experiment import EvalSettings, choose_queries
from rankgate_eval.run.metrics import METRICS, attainable_recall, measure
from rankgate_eval.stats.significance import Difference, holm
from rankgate_eval.stats.strata import StrataReport, compare_strata, stratify
from rankgate_eval.verdict.fairness import upside_down
from rankgate_eval.verdict.holes import counted_0_note
from rankgate_eval.verdict.sections import change, estimate, strata_result
from rankgate_eval.verdict.verdict import Evidence, Over, Verdict, judge

FloatArray = npt.NDArray[np.float64]
_Changes = Mapping[str, Mapping[str, Difference]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One run.

    Attributes:
        metrics: name to mean with interval.
        missing: judged queries without a list; they count 0. Where the verdict would be another
            one over the queries that this run and the first both have lists for, it is
            `not_enough_data`: a list may be missing because nothing was to be given, or lost.
        attainable: best recall@top_n that an order of its passages could reach.
        beyond: passages of the judged queries that the first run does not have for them: where
            there are any, this is more than another order of the same candidates.
        differences: primary metric to this run minus the first one; None for the first.
        adjusted_p: of nDCG@10, Holm's over all runs that are compared; None for the first.
        verdict, reasons, queries_needed: None, none and None for the first.
        strata: of the difference in nDCG@10; None where there are no texts or too few queries.
    """

    metrics: Mapping[str, Estimate]
    missing: int
    attainable: float
    beyond: int
    differences: Mapping[str, Change] | None = None
    adjusted_p: float | None = None
    verdict: Call | None = None
    reasons: tuple[str, ...] = ()
    queries_needed: int | None = None
    strata: StrataResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsResult:
    """What `rankgate eval DATA --run A --run B` found.

    Attributes:
        runs: name to run, the first one first.
        take: name of the run to take: of those that ship, the one with the highest nDCG@10; the
            first run where none ships.
        warnings: sentences that a reader should know before the numbers.
        per_query: query id to run to primary metric to value.
    """

    n: int
    clusters: int
    top_n: int
    runs: Mapping[str, ComparedRun]
    take: str
    warnings: tuple[str, ...]
    per_query: Mapping[str, Mapping[str, Mapping[str, float]]]
    made: Mapping[str, Any]

    @property
    def primary(self) -> tuple[str, str]:
        """The two metrics that decide: `ndcg@10` and `recall@<top_n>`."""
        return "ndcg@10", f"recall@{self.top_n}"

    @property
    def exit_code(self) -> int:
        """0 where a run ships; else 3 where one is not decided, 4 without a fair test; else 1."""
        calls = {run.verdict for run in self.runs.values() if run.verdict is not None}
        best = next(
            c
            for c in (Call.SHIP, Call.NOT_ENOUGH_DATA, Call.NOT_A_FAIR_TEST, Call.DONT_SHIP)
            if c in calls
        )
        return best.exit_code

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain: dict[str, Any] = to_jsonable_python(self)
        return {"format": "rankgate-eval-runs", "version": 1, **plain}


def compare_runs(
    data: Dataset,
    runs: Sequence[Run],
    *,
    split: str | None = None,
    settings: EvalSettings | None = None,
    made: Mapping[str, Any] | None = None,
) -> RunsResult:
    """Compare each further run with the first, query by query.

    A query that a run lacks counts 0 in it. Strata need the queries' texts: where a query's text
    is its id, there are none.

    Args:
        data: queries and judgements; of the corpus only the words, for strata, are read.
        runs: at least two, of different names.
        split: None: all queries.
        settings: how to measure; `k` and `budget_ms` are not read.
        made: how this was called, for the record.

    Raises:
        InputError: fewer than two runs, two of one name, or nothing judged.
    """
    asked = EvalSettings() if settings is None else settings
    names = [run.name for run in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise InputError(f"at least two runs of different names are compared, got {names}")
    judged, _ = choose_queries(data, split, asked.limit)
    top_n = 5 if asked.top_n is None else asked.top_n
    clusters = [data.group_of(q) for q in judged]
    primary = ("ndcg@10", f"recall@{top_n}")
    names_of = [*METRICS, primary[1]]
    columns = {
        run.name: measure(data.qrels, run.lists, judged, names=names_of).values for run in runs
    }
    draws = asked.draws
    first = runs[0]

    def tested(at: Mapping[str, Sequence[int]]) -> tuple[_Changes, Mapping[str, float]]:
        """Differences of each further run on these queries, and Holm's p of nDCG@10."""
        found = {
            name: {
                metric: asked.compare(
                    columns[first.name][metric][rows],
                    columns[name][metric][rows],
                    [clusters[i] for i in rows],
                )
                for metric in primary
            }
            for name, rows in at.items()
        }
        return found, holm({name: found[name]["ndcg@10"].p for name in found})

    turned = upside_down(data.qrels, first.lists, judged, clusters, asked)
    every = range(len(judged))
    found, adjusted = tested({name: every for name in names[1:]})
    listed = {
        run.name: [i for i in every if run.lists.get(judged[i]) and first.lists.get(judged[i])]
        for run in runs[1:]
    }
    partly = {name: rows for name, rows in listed.items() if 0 < len(rows) < len(judged)}
    common, common_p = tested(partly)
    kinds = _strata(data, judged, asked)
    compared: dict[str, ComparedRun] = {}
    for run in runs:
        made_of = ComparedRun(
            metrics={n: estimate(c, clusters, **draws) for n, c in columns[run.name].items()},
            missing=sum(not run.lists.get(q) for q in judged),
            attainable=float(
                attainable_recall(
                    data.qrels, run.lists, judged, k=_longest(run, top_n), top_n=top_n
                ).mean()
            ),
            beyond=sum(
                len(set(run.lists.get(q, ())).difference(first.lists.get(q, ()))) for q in judged
            ),
        )
        if run is not first:
            strata = None
            if kinds is not None:
                strata = compare_strata(
                    columns[first.name]["ndcg@10"],
                    columns[run.name]["ndcg@10"],
                    kinds,
                    judged,
                    clusters,
                    alpha=asked.standards.alpha,
                    **asked.tests,
                )
            name = run.name
            verdict = _judged(found[name], adjusted[name], first.name, strata, asked, top_n, turned)
            if name in partly:
                here, there = (
                    _judged(changes[name], p[name], first.name, None, asked, top_n, turned).call
                    for changes, p in ((found, adjusted), (common, common_p))
                )
                if here is not there:
                    verdict = _open(verdict, here, there, len(judged), len(partly[name]))
            made_of = replace(
                made_of,
                differences={metric: change(d) for metric, d in found[run.name].items()},
                adjusted_p=adjusted[run.name],
                verdict=verdict.call,
                reasons=verdict.reasons,
                queries_needed=verdict.queries_needed,
                strata=None if strata is None else strata_result(strata),
            )
        compared[run.name] = made_of
    ship = [name for name, run in compared.items() if run.verdict is Call.SHIP]
    return RunsResult(
        n=len(judged),
        clusters=len(set(clusters)),
        top_n=top_n,
        runs=compared,
        take=max(ship, key=lambda name: compared[name].metrics["ndcg@10"].mean, default=first.name),
        warnings=(
            *([] if turned is None else [turned]),
            *(
                f"{name} has no list for {run.missing} of {len(judged)} judged queries, which "
                "count 0 in it."
                for name, run in compared.items()
                if run.missing
            ),
            *(warning for run in runs for warning in run.doubts()),
            *counted_0_note(data, split, columns, primary),
        ),
        per_query={
            query: {
                name: {metric: float(columns[name][metric][i]) for metric in primary}
                for name in names
            }
            for i, query in enumerate(judged)
        },
        made={} if made is None else dict(made),
    )


def _longest(run: Run, least: int) -> int:
    return max([least, *(len(ids) for ids in run.lists.values())])


def _strata(data: Dataset, judged: Sequence[str], asked: EvalSettings) -> Any:
    if all(data.queries[q] == q for q in judged):
        return None
    words = frozenset(word for text in data.corpus.values() for word in query_words(text))
    return stratify(
        [data.queries[q] for q in judged], lexicon=words, fields=data.columns(asked.fields, judged)
    )


def _judged(
    found: Mapping[str, Difference],
    adjusted_p: float,
    baseline: str,
    strata: StrataReport | None,
    asked: EvalSettings,
    top_n: int,
    unfair: str | None,
) -> Verdict:
    """The rule of an evaluation, over a run in place of the tuned first stage."""
    return judge(
        Evidence(
            over=(
                Over(
                    name=baseline,
                    ndcg=replace(found["ndcg@10"], p=adjusted_p),
                    recall=found[f"recall@{top_n}"],
                    holm=True,
                ),
            ),
            top_n=top_n,
            skip_rate=0.0,
            gated=False,
            strata=strata,
            unfair=unfair,
        ),
        asked.standards,
    )


def _open(verdict: Verdict, here: Call, there: Call, n: int, both: int) -> Verdict:
    """Not enough data, because lists that are missing would decide."""
    said = (
        f"Lists that are missing decide: over the {both} of {n} queries that both runs have lists "
        f"for it is {there.value.replace('_', ' ')!r}, with 0 for the others "
        f"{here.value.replace('_', ' ')!r}. Where a system rightly gave nothing, 0 is its due; "
        "where lists were lost, make the run again."
    )
    return replace(
        verdict, call=Call.NOT_ENOUGH_DATA, reasons=(said, *verdict.reasons), queries_needed=None
    )
