"""Ranking metrics per query, in the order of the queries given.

A ranking is handed over as an order: passage ids, best first. The numbers are trec_eval's, which a
test reads from ir-measures.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate_eval.stats.ndcg import ndcg

FloatArray = npt.NDArray[np.float64]
Qrels = Mapping[str, Mapping[str, int]]
Rankings = Mapping[str, Sequence[str]]

_RECALL = re.compile(r"recall@[1-9]\d*")
METRICS: tuple[str, ...] = (
    "ndcg@5",
    "ndcg@10",
    "mrr@10",
    "recall@5",
    "recall@10",
    "recall@50",
    "recall@100",
    "precision@5",
    "map",
    "judged@10",
)
"""The names that `measure` knows; each is in [0, 1], higher is better.

`judged@10` says nothing of quality: it is the share of the first ten passages that anybody judged.
"""


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
        attainable: (n,) best possible recall@top_n within the first `k` candidates.
        first_stage: (n,) recall@top_n of the first stage.
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


def judged_queries(qrels: Qrels, query_ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split queries into those that count and the rest.

    A query counts that has a relevant passage (grade above 0).

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
        names: of `METRICS`, or recall at another depth.

    Raises:
        InputError: an unknown metric, a query named twice, or a passage twice in a ranking.
    """
    strange = [n for n in names if n not in METRICS and not _RECALL.fullmatch(n)]
    if strange:
        raise InputError(f"unknown metric {strange[0]!r}; known: {', '.join(METRICS)}")
    judged, unjudged = judged_queries(qrels, query_ids)
    values = {name: np.zeros(len(judged), dtype=np.float64) for name in names}
    for row, query in enumerate(judged):
        ranking = rankings.get(query, ())
        gains, ideal = _gains(query, ranking, qrels[query])
        hits = (np.flatnonzero(gains) + 1).tolist()
        for name in names:
            values[name][row] = (
                _judged_share(ranking, qrels[query], name)
                if name.startswith("judged")
                else _metric(name, gains, ideal, hits)
            )
    for column in values.values():
        column.flags.writeable = False
    return Measurement(
        query_ids=tuple(judged),
        values=MappingProxyType(values),
        missing=tuple(q for q in judged if not rankings.get(q)),
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


def check_depth(k: int, top_n: int) -> None:
    """Refuse to keep more passages than are read.

    Raises:
        InputError: `k` is below `top_n`.
    """
    if k < top_n:
        raise InputError(f"k ({k}) must be at least top_n ({top_n}): the reranker picks from k")


def headroom(
    qrels: Qrels, rankings: Rankings, query_ids: Sequence[str], *, k: int, top_n: int
) -> Headroom:
    """Attainable recall@top_n within `k` candidates, beside what the first stage has.

    Raises:
        InputError: `k` or `top_n` is below 1, or `k` is below `top_n`.
    """
    _positive((k, top_n), "k and top_n")
    check_depth(k, top_n)
    judged, _ = judged_queries(qrels, query_ids)
    return Headroom(
        query_ids=tuple(judged),
        attainable=attainable_recall(qrels, rankings, judged, k=k, top_n=top_n),
        first_stage=recall_curve(qrels, rankings, judged, [top_n])[:, 0],
        k=k,
        top_n=top_n,
    )


def _relevant(qrels: Qrels, query: str) -> set[str]:
    return {p for p, grade in qrels.get(query, {}).items() if grade > 0}


def _gains(
    query: str, ranking: Sequence[str], grades: Mapping[str, int]
) -> tuple[FloatArray, FloatArray]:
    """(n,) grades in the ranking's order, and (m,) of all relevant passages."""
    if len(set(ranking)) != len(ranking):
        twice = next(p for p, count in Counter(ranking).items() if count > 1)
        raise InputError(
            f"query {query!r}: passage {twice!r} stands twice in the ranking; metrics are only "
            "defined for distinct passages, so keep the best rank of each"
        )
    return (
        np.array([max(0, grades.get(p, 0)) for p in ranking], dtype=np.float64),
        np.array([g for g in grades.values() if g > 0], dtype=np.float64),
    )


def _judged_share(ranking: Sequence[str], grades: Mapping[str, int], name: str) -> float:
    """Share of the first passages that have a grade at all; a short list is not padded."""
    read = ranking[: int(name.partition("@")[2])]
    return sum(p in grades for p in read) / len(read) if read else 0.0


def _metric(name: str, gains: FloatArray, ideal: FloatArray, hits: Sequence[int]) -> float:
    """One metric; `hits` are the ranks of what is relevant, rising."""
    kind, _, cut = name.partition("@")
    top = int(cut) if cut else gains.size
    if kind == "ndcg":
        return ndcg(gains, ideal, top=top)
    found = bisect_right(hits, top)
    if kind == "recall":
        return found / ideal.size
    if kind == "precision":
        return found / top
    if kind == "mrr":
        return 1.0 / hits[0] if found else 0.0
    return sum(i / rank for i, rank in enumerate(hits, 1)) / ideal.size


def _positive(numbers: Sequence[int], what: str) -> None:
    if any(n < 1 for n in numbers):
        raise InputError(f"{what} must be at least 1, got {list(numbers)}")
