"""Fits a relevance model in two steps: what orders, then what makes a probability of it.

The features that differ within a query are fitted list-wise (softmax over a query's candidates,
ListNet's top-one loss: Cao et al., ICML 2007, doi:10.1145/1273496.1273513), because they order.
Slope, intercept and the features of the query are then fitted point-wise on the ten best
candidates, answerable and unanswerable queries together, because they make the probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.logistic import Feature, Logistic
from rankgate.errors import InputError
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.rows import Row, Seen
from rankgate_eval.stats.fits import corpus_shares, fit_listwise, fit_logistic

__all__ = [
    "FIRST_STAGE_ORDERING",
    "LEVEL",
    "ORDERING",
    "PLATT",
    "FittedRelevance",
    "first_stage_level",
    "fit_relevance",
]

FloatArray = npt.NDArray[np.float64]

# What differs within a query, so that it orders.
ORDERING: dict[FirstStageKind, tuple[str, ...]] = {
    FirstStageKind.HYBRID: (
        "raw_gap",
        "raw_z",
        "dense_gap",
        "bm25_z",
        "bm25_share",
        "reciprocal_rank",
    ),
    # Not dense_gap: beside the MaxSim of the same encoder it got the wrong sign and cost .025
    # nDCG@10 on a corpus left out.
    FirstStageKind.DENSE: ("raw_gap", "raw_z"),
    FirstStageKind.BM25: ("raw_gap", "raw_z", "bm25_z", "bm25_share", "reciprocal_rank"),
    FirstStageKind.ORDER: ("raw_gap", "raw_z", "reciprocal_rank"),
}
FIRST_STAGE_ORDERING: dict[FirstStageKind, tuple[str, ...]] = {
    FirstStageKind.HYBRID: ("dense_gap", "bm25_z", "bm25_share", "reciprocal_rank"),
    FirstStageKind.DENSE: ("dense_gap",),
    FirstStageKind.BM25: ("bm25_z", "bm25_share"),
    FirstStageKind.ORDER: ("reciprocal_rank",),
}
# What differs between queries, so that it moves the probability and never the order.
LEVEL: dict[FirstStageKind, tuple[str, ...]] = {
    FirstStageKind.HYBRID: ("query_raw_top", "query_dense_top"),
    FirstStageKind.DENSE: ("query_raw_top", "query_dense_top"),
    FirstStageKind.BM25: ("query_raw_top", "query_bm25_log_top"),
    FirstStageKind.ORDER: ("query_raw_top",),
}
# Raw order untouched, with a probability: Platt's scaling, split into gap and top.
PLATT = ("raw_gap",)

_READ = 10  # best candidates of a query, on which the probability is fitted
_POINTWISE_RIDGE = 1e-3
_NO_SPREAD = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRelevance:
    """A logistic over relevance features, and what was left out of it.

    Attributes:
        model: the logistic.
        dropped: feature to the reason: it does not vary, or its weight contradicts its meaning.
        n: queries that it was fitted on.
    """

    model: Logistic
    dropped: dict[str, str]
    n: int

    @property
    def reads_raw(self) -> bool:
        """Whether any of the scorer's values is left in it."""
        return any("raw" in name for name in self.model.names)


def first_stage_level(kind: FirstStageKind) -> tuple[str, ...]:
    """The features of the query that need no scorer."""
    return tuple(name for name in LEVEL[kind] if name != "query_raw_top")


def fit_relevance(
    rows: Sequence[Row],
    ordering: Sequence[str],
    level: Sequence[str],
    *,
    scored: bool,
    check_signs: bool = True,
    ridge: float = 0.005,
) -> FittedRelevance:
    """The two steps of the module's docstring, corpora weighing the same.

    More of any of these features means more relevant, so a feature whose weight comes out
    negative is dropped, the worst first, and the rest is fitted again. It would be an artefact of
    its neighbours, or of a scorer that is wrong; either is a poor thing to rank by.

    Args:
        rows: queries, answerable and not.
        ordering: names of features that differ within a query.
        level: names of features of the query.
        scored: the candidates as the scorer read them, or as the first stage gave them.
        check_signs: False keeps negative weights.
        ridge: of the list-wise step, on standardised features, against the mean loss of a query.

    Raises:
        InputError: no query has a relevant passage among its candidates.
    """
    usable: list[tuple[Row, Seen]] = []
    for row in rows:
        seen = row.seen(scored=scored)
        if seen is not None and seen.relevant.size:
            usable.append((row, seen))
    listed = [(row, seen) for row, seen in usable if seen.relevant.any()]
    if not listed:
        raise InputError(
            f"none of {len(rows)} queries has a relevant passage among its candidates, so no "
            "relevance model can be fitted. Raise k, or mend retrieval first."
        )
    dropped: dict[str, str] = {}
    within = _varying([seen for _, seen in listed], ordering, dropped)
    across = _varying([seen for _, seen in usable], level, dropped)
    while True:
        weights = _listwise(listed, within, ridge)
        if not check_signs or not (weights < 0.0).any():
            break
        within = _without_worst(within, weights, dropped)
    while True:
        slope, tail, intercept = _pointwise(usable, within, weights, across)
        if not check_signs or not (tail < 0.0).any():
            break
        across = _without_worst(across, tail, dropped)
    if check_signs and within and slope <= 0.0:
        # What orders says nothing across queries, or the reverse: then it may not order either.
        dropped.update(dict.fromkeys(within, "tells nothing of relevance across queries"))
        within, weights = (), np.empty(0)
        slope, tail, intercept = _pointwise(usable, within, weights, across)
    features = [
        Feature(name=name, weight=float(slope * w)) for name, w in zip(within, weights, strict=True)
    ]
    features += [Feature(name=n, weight=float(w)) for n, w in zip(across, tail, strict=True)]
    return FittedRelevance(
        model=Logistic(intercept=intercept, features=tuple(features)),
        dropped=dropped,
        n=len(usable),
    )


def _varying(
    seen: Sequence[Seen], names: Sequence[str], dropped: dict[str, str]
) -> tuple[str, ...]:
    kept = []
    for name in names:
        if any(name not in s.columns for s in seen):
            dropped[name] = "some candidates lack it"
            continue
        column = np.concatenate([s.columns[name] for s in seen])
        if float(column.std()) <= _NO_SPREAD * max(1.0, float(np.abs(column).max())):
            dropped[name] = "does not vary"
            continue
        kept.append(name)
    return tuple(kept)


def _without_worst(
    names: Sequence[str], weights: FloatArray, dropped: dict[str, str]
) -> tuple[str, ...]:
    worst = names[int(np.argmin(weights))]
    dropped[worst] = "its weight contradicts its meaning"
    return tuple(n for n in names if n != worst)


def _listwise(listed: Sequence[tuple[Row, Seen]], names: Sequence[str], ridge: float) -> FloatArray:
    """(features,) weights, in the features' own units."""
    corpora = [row.corpus for row, _ in listed]
    return fit_listwise(
        [seen.matrix(names) for _, seen in listed],
        [seen.relevant for _, seen in listed],
        corpus_shares(corpora),
        ridge=ridge / len(set(corpora)) ** 2,
    )


def _pointwise(
    usable: Sequence[tuple[Row, Seen]],
    within: Sequence[str],
    weights: FloatArray,
    across: Sequence[str],
) -> tuple[float, FloatArray, float]:
    """Slope of the ordering part, weights of the query's features, intercept."""
    corpora = [row.corpus for row, _ in usable]
    counts = {c: corpora.count(c) for c in dict.fromkeys(corpora)}
    xs, ys, shares = [], [], []
    for (_, seen), corpus in zip(usable, corpora, strict=True):
        s = seen.matrix(within) @ weights
        top = np.argsort(-s, kind="stable")[:_READ]
        ordering = s[top, None] if within else np.empty((top.size, 0))
        xs.append(np.hstack([ordering, seen.matrix(across)[top]]))
        ys.append(seen.relevant[top])
        shares.append(np.full(top.size, 1.0 / (counts[corpus] * top.size)))
    x, y, share = np.concatenate(xs), np.concatenate(ys), np.concatenate(shares)
    intercept, own = fit_logistic(x, y, share, ridge=_POINTWISE_RIDGE)
    if within:
        return float(own[0]), own[1:], intercept
    return 1.0, own, intercept
