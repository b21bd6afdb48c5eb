"""Ranking metrics per query, through ir-measures, in the order of the queries given.

A ranking is handed over as an order: passage ids, best first. trec_eval orders a run by score
itself and breaks ties by id, so scores that tie would be re-sorted behind our back; the order is
therefore turned into scores `n, n-1, ..., 1`, exact in trec_eval's 32-bit floats, and ties cannot
matter. Whoever holds a run with scores turns it into that order with `trec_order`.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError, MissingExtraError

__all__ = [
    "METRICS",
    "Headroom",
    "Measurement",
    "attainable_recall",
    "headroom",
    "judged_queries",
    "measure",
    "precision_gap",
    "recall_curve",
    "trec_order",
]

FloatArray = npt.NDArray[np.float64]
Qrels = Mapping[str, Mapping[str, int]]
Rankings = Mapping[str, Sequence[str]]

# Our name, and how ir-measures writes it.
_IR_NAMES = {
    "ndcg@5": "nDCG@5",
    "ndcg@10": "nDCG@10",
    "mrr@10": "RR@10",
    "recall@5": "R@5",
    "recall@10": "R@10",
    "recall@50": "R@50",
    "recall@100": "R@100",
    "precision@5": "P@5",
    "map": "AP",
}
METRICS: tuple[str, ...] = tuple(_IR_NAMES)
"""The names that `measure` knows; each is in [0, 1], higher is better."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """Metrics of one ranking for each judged query.

    Attributes:
        query_ids: the judged queries, in the order in which they were asked for.
        values: metric name to (n,) values in [0, 1], in that order; read-only.
        missing: judged queries without any result; they count 0 in every metric.
        unjudged: queries without a relevant passage; left out of `query_ids`.
    """

    query_ids: tuple[str, ...]
    values: Mapping[str, FloatArray]
    missing: tuple[str, ...]
    unjudged: tuple[str, ...]

    def mean(self, name: str) -> float:
        """Mean over all judged queries.

        Raises:
            InputError: the metric was not measured, or no query is judged.
        """
        if not self.query_ids:
            raise InputError("no query has a relevant passage, so there is nothing to average")
        return float(self.column(name).mean())

    def column(self, name: str) -> FloatArray:
        """(n,) values of one metric.

        Raises:
            InputError: the metric was not measured.
        """
        if name not in self.values:
            raise InputError(f"metric {name!r} was not measured; these were: {list(self.values)}")
        return self.values[name]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Headroom:
    """What a perfect reranker could add to recall@top_n, query by query.

    Attributes:
        query_ids: the judged queries.
        attainable: (n,) best possible recall@top_n within the first `k` candidates.
        first_stage: (n,) recall@top_n of the first stage.
        k: candidates that the reranker reads.
        top_n: passages that are kept.
    """

    query_ids: tuple[str, ...]
    attainable: FloatArray
    first_stage: FloatArray
    k: int
    top_n: int

    @property
    def per_query(self) -> FloatArray:
        """(n,) attainable minus first stage, in [0, 1]."""
        return self.attainable - self.first_stage

    @property
    def mean(self) -> float:
        """Mean over the judged queries.

        Raises:
            InputError: there is none.
        """
        if not self.query_ids:
            raise InputError("no query has a relevant passage, so there is no headroom to state")
        return float(self.per_query.mean())


def trec_order(scores: Mapping[str, float]) -> list[str]:
    """Ids best first, exactly as trec_eval orders a run with these scores.

    trec_eval keeps scores as 32-bit floats and puts the greater id (by its bytes) first where
    two are equal.

    Raises:
        InputError: a score is NaN.
    """
    for identifier, score in scores.items():
        if math.isnan(score):
            raise InputError(f"the score of {identifier!r} is NaN; a run needs numbers")
    by_id = sorted(scores, key=lambda i: i.encode("utf-8"), reverse=True)
    with np.errstate(over="ignore"):
        narrow = np.array([scores[i] for i in by_id], dtype=np.float64).astype(np.float32)
    return [by_id[i] for i in np.argsort(-narrow, kind="stable")]


def judged_queries(qrels: Qrels, query_ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split queries into those with a relevant passage (grade above 0) and the rest.

    Raises:
        InputError: a query is named twice.
    """
    if len(set(query_ids)) != len(query_ids):
        twice = next(q for q, count in Counter(query_ids).items() if count > 1)
        raise InputError(f"query {twice!r} is named twice; it would count double")
    judged = [q for q in query_ids if _relevant(qrels, q)]
    known = set(judged)
    return judged, [q for q in query_ids if q not in known]


def measure(
    qrels: Qrels,
    rankings: Rankings,
    query_ids: Sequence[str],
    *,
    names: Sequence[str] = METRICS,
) -> Measurement:
    """Measure one ranking, query by query.

    Grades of 0 and below are not relevant; higher grades are nDCG's gains, as in trec_eval. A
    short list is not padded: precision@5 divides by 5 all the same. MAP reads the whole list.

    Args:
        qrels: query id to passage id to grade.
        rankings: query id to passage ids, best first. A query that is absent or empty counts 0.
        query_ids: which queries, in which order.
        names: of `METRICS`.

    Raises:
        InputError: an unknown metric, a query named twice, or a passage twice in a ranking.
        MissingExtraError: ir-measures is not installed.
    """
    strange = [n for n in names if n not in _IR_NAMES]
    if strange:
        raise InputError(f"unknown metric {strange[0]!r}; known: {', '.join(METRICS)}")
    judged, unjudged = judged_queries(qrels, query_ids)
    run = {q: _scored(q, rankings[q]) for q in judged if rankings.get(q)}
    grades = {q: {p: max(0, g) for p, g in qrels[q].items()} for q in judged}
    values = {name: np.zeros(len(judged), dtype=np.float64) for name in names}
    if run and names:
        ir_measures = _ir_measures()
        parsed = {ir_measures.parse_measure(_IR_NAMES[name]): name for name in names}
        position = {q: i for i, q in enumerate(judged)}
        for row in ir_measures.iter_calc(list(parsed), grades, run):
            values[parsed[row.measure]][position[row.query_id]] = row.value
    for column in values.values():
        column.flags.writeable = False
    return Measurement(
        query_ids=tuple(judged),
        values=MappingProxyType(values),
        missing=tuple(q for q in judged if q not in run),
        unjudged=tuple(unjudged),
    )


def recall_curve(
    qrels: Qrels, rankings: Rankings, query_ids: Sequence[str], depths: Sequence[int]
) -> FloatArray:
    """(n, len(depths)) recall of each judged query at any depths, in [0, 1].

    Raises:
        InputError: a depth is below 1.
    """
    _positive(depths, "depth")
    judged, _ = judged_queries(qrels, query_ids)
    table = np.zeros((len(judged), len(depths)), dtype=np.float64)
    for row, query in enumerate(judged):
        relevant = _relevant(qrels, query)
        found = np.array([p in relevant for p in rankings.get(query, ())], dtype=np.float64)
        for column, depth in enumerate(depths):
            table[row, column] = found[:depth].sum() / len(relevant)
    return table


def attainable_recall(
    qrels: Qrels, rankings: Rankings, query_ids: Sequence[str], *, k: int, top_n: int
) -> FloatArray:
    """(n,) best recall@top_n that any order of the first `k` candidates could reach."""
    _positive((k, top_n), "k and top_n")
    judged, _ = judged_queries(qrels, query_ids)
    best = np.zeros(len(judged), dtype=np.float64)
    for row, query in enumerate(judged):
        relevant = _relevant(qrels, query)
        within = len(relevant.intersection(rankings.get(query, ())[:k]))
        best[row] = min(top_n, within) / len(relevant)
    return best


def headroom(
    qrels: Qrels, rankings: Rankings, query_ids: Sequence[str], *, k: int, top_n: int
) -> Headroom:
    """Attainable recall@top_n within `k` candidates, beside what the first stage has.

    Raises:
        InputError: `k` or `top_n` is below 1, or `k` is below `top_n`.
    """
    _positive((k, top_n), "k and top_n")
    if k < top_n:
        raise InputError(f"k ({k}) must be at least top_n ({top_n}): the reranker picks from k")
    judged, _ = judged_queries(qrels, query_ids)
    return Headroom(
        query_ids=tuple(judged),
        attainable=attainable_recall(qrels, rankings, judged, k=k, top_n=top_n),
        first_stage=recall_curve(qrels, rankings, judged, [top_n])[:, 0],
        k=k,
        top_n=top_n,
    )


def precision_gap(before: Measurement, after: Measurement, *, name: str = "ndcg@10") -> FloatArray:
    """(n,) metric after minus before, query by query, in [-1, 1].

    Raises:
        InputError: the two did not measure the same queries in the same order.
    """
    if before.query_ids != after.query_ids:
        raise InputError(
            f"the two measurements hold different queries ({len(before.query_ids)} and "
            f"{len(after.query_ids)}, or in another order); measure both with the same query_ids"
        )
    return after.column(name) - before.column(name)


def _relevant(qrels: Qrels, query: str) -> set[str]:
    return {p for p, grade in qrels.get(query, {}).items() if grade > 0}


def _scored(query: str, ranking: Sequence[str]) -> dict[str, float]:
    n = len(ranking)
    scores = {passage: float(n - i) for i, passage in enumerate(ranking)}
    if len(scores) != n:
        twice = next(p for p, count in Counter(ranking).items() if count > 1)
        raise InputError(
            f"query {query!r}: passage {twice!r} stands twice in the ranking; metrics are only "
            "defined for distinct passages, so keep the best rank of each"
        )
    return scores


def _positive(numbers: Sequence[int], what: str) -> None:
    if any(n < 1 for n in numbers):
        raise InputError(f"{what} must be at least 1, got {list(numbers)}")


@functools.cache
def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError as exc:
        raise MissingExtraError("measuring rankings", "eval") from exc
    return ir_measures
