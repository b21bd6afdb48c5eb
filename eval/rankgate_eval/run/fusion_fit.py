"""The order that suits a corpus without any reranker: what tuning the first stage gains.

Fitted on the candidates' own scores, so it needs no second retrieval: every candidate of a
hybrid first stage carries its cosine and its BM25 score. A reranker has to be better than this
order; against the untuned one it would be credited with what the weights alone can do. A
fitted sum of both scores is tried beside the fusions, since a policy's relevance model is one:
against fusions alone a scorer of random numbers would be credited with that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.rank import CandidateList
from rankgate.errors import InputError
from rankgate.retrieve import Fusion
from rankgate.types import Candidate
from rankgate_eval.run.pool import Pooled
from rankgate_eval.stats.fits import corpus_shares, fit_listwise
from rankgate_eval.stats.folds import group_folds
from rankgate_eval.stats.ndcg import ndcg
from rankgate_eval.stats.significance import compare

FloatArray = npt.NDArray[np.float64]

_SUMMED = ("dense", "bm25_per_word")
_RIDGE = 0.005  # of the fitted sum, as that of a relevance model
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

# From plain to particular: of equally good ones the first is taken.
FUSION_GRID: tuple[Fusion, ...] = (
    Fusion(),
    Fusion(bm25_weight=0.0),
    Fusion(dense_weight=0.0),
    *(Fusion(rrf_k=k) for k in (10.0, 30.0, 100.0)),
    *(
        Fusion(rrf_k=k, dense_weight=dense, bm25_weight=bm25)
        for k in (60.0, 10.0)
        for dense, bm25 in ((2.0, 1.0), (1.0, 2.0), (4.0, 1.0), (1.0, 4.0))
    ),
    *(
        Fusion(method="weighted", dense_weight=share, bm25_weight=round(1.0 - share, 1))
        for share in _SHARES
    ),
)
"""What is tried: plain RRF, each list alone, other constants and weights, min-max sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionFit:
    """The chosen fusion, and what it is worth on the queries it was chosen on.

    Attributes:
        fusion: the choice; None where there is nothing to fuse.
        ndcg10: its mean nDCG@10 on these queries: optimistic, since it was chosen on them.
        plain_ndcg10: that of plain RRF.
        standard_error: of the mean difference between the best fusion and the plain one, robust
            to document groups.
        note: in a sentence, why this one.
    """

    fusion: Fusion | None
    ndcg10: float
    plain_ndcg10: float
    standard_error: float
    n: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedSum:
    """Weights of the first stage's own scores, as a relevance model of skipped queries has them.

    Attributes:
        dense: of the cosine.
        bm25_per_word: of the BM25 score by query word.
    """

    dense: float
    bm25_per_word: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossfitFusion:
    """Every query ordered by a fusion that was chosen without its document group.

    Attributes:
        orders: query id to passage ids, best first; also of unjudged queries.
        fusions: the choice of each fold, of fusions and the fitted sum; empty where there is
            nothing to fuse.
        unit: what the folds were drawn from, `group` or `query`; see `Fold`.
        note: why there was nothing to fuse or to cross-fit; "" otherwise.
    """

    orders: Mapping[str, tuple[str, ...]]
    fusions: tuple[Fusion | FittedSum, ...]
    unit: str = "group"
    note: str = ""


def order_by_fusion(candidates: Sequence[Candidate], fusion: Fusion) -> tuple[str, ...]:
    """Ids of all candidates, fused by their own scores, best first.

    Ranks are those within these candidates. As in retrieval, a BM25 score of 0 stands in no
    list. Ties, and candidates of neither list, keep their first-stage order.

    Raises:
        InputError: a candidate lacks a score that the fusion reads.
    """
    by_rank = sorted(candidates, key=lambda c: c.rank)
    dense: dict[str, float] = {}
    bm25: dict[str, float] = {}
    for c in by_rank:
        if (c.dense is None and fusion.dense_weight > 0) or (
            c.bm25 is None and fusion.bm25_weight > 0
        ):
            lacks = "dense" if c.dense is None and fusion.dense_weight > 0 else "BM25"
            raise InputError(f"candidate {c.id!r} has no {lacks} score to fuse by")
        if c.dense is not None:
            dense[c.id] = c.dense
        if c.bm25 is not None and c.bm25 > 0.0:
            bm25[c.id] = c.bm25
    fused = dict(fusion.fuse(_best_first(dense), _best_first(bm25)))
    # -inf, not 0: a candidate of no list stands behind one that weighted fusion gave 0.
    return tuple(c.id for c in sorted(by_rank, key=lambda c: -fused.get(c.id, -np.inf)))


def fit_fusion(
    pools: Mapping[str, Pooled],
    relevant: Mapping[str, Collection[str]],
    *,
    groups: Mapping[str, str] | None = None,
) -> FusionFit:
    """Choose a fusion by nDCG@10 over the judged queries.

    The best of `FUSION_GRID` is taken only where it beats plain RRF by more than the standard
    error of their difference (the one-standard-error rule of Breiman et al., Classification and
    Regression Trees, 1984): a dozen weights always have a luckiest one.

    Args:
        pools: query id to what was read.
        relevant: query id to its relevant passages; queries without one are left out.
        groups: query id to document group; None: every query is its own.

    Raises:
        InputError: no query has a relevant passage.
    """
    judged = _judged(pools, relevant)
    if not judged:
        raise InputError("no query has a relevant passage, so no fusion can be fitted")
    obstacle = _obstacle(pools)
    if obstacle:
        own = [
            ndcg([c.id in relevant[q] for c in pools[q].candidates], len(relevant[q]))
            for q in judged
        ]
        mean = float(np.mean(own))
        return FusionFit(
            fusion=None,
            ndcg10=mean,
            plain_ndcg10=mean,
            standard_error=0.0,
            n=len(judged),
            note=obstacle,
        )
    return _choose(_table(pools, relevant, judged), judged, groups)


def crossfit_fusion(
    pools: Mapping[str, Pooled],
    relevant: Mapping[str, Collection[str]],
    groups: Mapping[str, str],
    *,
    folds: int = 5,
    seed: int = 0,
) -> CrossfitFusion:
    """Order every query by the fusion that the other folds choose.

    Args:
        pools: query id to what was read.
        relevant: query id to its relevant passages; none for an unjudged query, which is ordered
            by the fusion that all judged ones choose.
        groups: query id to document group.

    Returns:
        The orders. For a first stage without both scores, its own, or by the one that it has where
        that is better.

    Raises:
        InputError: fewer than 2 folds.
    """
    judged = _judged(pools, relevant)
    own = {q: tuple(c.id for c in p.candidates) for q, p in pools.items()}
    if len(judged) < 2:
        note = f"{len(judged)} judged queries: too few to tune the fusion on, first-stage order"
        return CrossfitFusion(orders=own, fusions=(), note=note)
    obstacle = _obstacle(pools)
    # Without both scores there is nothing to fuse, and a sum of what there is competes with the
    # order as it came: a policy's relevance model may be that sum.
    table = None if obstacle else _table(pools, relevant, judged)
    scores = {q: _scores(p) for q, p in pools.items()}
    row = {q: i for i, q in enumerate(judged)}
    parts = group_folds(judged, groups, folds=folds, seed=seed)
    orders = dict(own)

    def mean(ordered: Mapping[str, Sequence[str]]) -> float:
        return float(
            np.mean(
                [ndcg([p in relevant[q] for p in ordered[q]], len(relevant[q])) for q in ordered]
            )
        )

    def chosen(train: Sequence[str]) -> Fusion | FittedSum | None:
        """The better one on these queries, the sum only if it is; None: the order as it came."""
        if table is None:
            plain, reached = None, mean({q: own[q] for q in train})
        else:
            fit = _choose(table[[row[q] for q in train]], train, groups)
            plain, reached = fit.fusion, fit.ndcg10
        summed = _fit_sum(scores, pools, relevant, train)
        if summed is None:
            return plain
        better = mean({q: _by_sum(pools[q], scores[q], summed) for q in train}) > reached + 1e-9
        return summed if better else plain

    def ordered(query: str, by: Fusion | FittedSum | None) -> tuple[str, ...]:
        if by is None:
            return own[query]
        if isinstance(by, FittedSum):
            return _by_sum(pools[query], scores[query], by)
        return order_by_fusion(pools[query].candidates, by)

    found: list[Fusion | FittedSum] = []
    for fold in parts:
        by = chosen(fold.train)
        found += [] if by is None else [by]
        orders.update({q: ordered(q, by) for q in fold.held_out})
    others = pools.keys() - row.keys()
    if others:
        everyone = chosen(judged)
        orders.update({q: ordered(q, everyone) for q in others})
    note = "" if found else obstacle
    return CrossfitFusion(orders=orders, fusions=tuple(found), unit=parts[0].unit, note=note)


def _scores(pooled: Pooled) -> FloatArray:
    """(candidates, 2) what `FittedSum` weighs, as the engine computes it; 0 where it cannot."""
    n = len(pooled.candidates)
    columns = CandidateList.of(pooled.candidates, None, k=max(1, n), signals=pooled.signals).columns
    return np.stack([columns.get(name, np.zeros(n)) for name in _SUMMED], axis=1)


def _fit_sum(
    scores: Mapping[str, FloatArray],
    pools: Mapping[str, Pooled],
    relevant: Mapping[str, Collection[str]],
    train: Sequence[str],
) -> FittedSum | None:
    """None where no score tells relevant candidates apart.

    As in a relevance model, a score whose weight contradicts its meaning is left out.
    """
    hits = {q: np.array([c.id in relevant[q] for c in pools[q].candidates]) for q in train}
    usable = [q for q in train if hits[q].any()]
    if not usable:
        return None
    spread = np.concatenate([scores[q] for q in usable]).std(axis=0)
    kept = [i for i in range(len(_SUMMED)) if spread[i] > 0.0]
    while kept:
        weights = fit_listwise(
            [scores[q][:, kept] for q in usable],
            [hits[q] for q in usable],
            corpus_shares([""] * len(usable)),
            ridge=_RIDGE,
        ).tolist()
        if min(weights) > 0.0:
            known = dict(zip((_SUMMED[i] for i in kept), weights, strict=True))
            return FittedSum(**{name: known.get(name, 0.0) for name in _SUMMED})
        del kept[weights.index(min(weights))]
    return None


def _by_sum(pooled: Pooled, scores: FloatArray, by: FittedSum) -> tuple[str, ...]:
    """Ids of all candidates, best first; ties in first-stage order."""
    order = np.argsort(-(scores @ np.array([by.dense, by.bm25_per_word])), kind="stable")
    return tuple(pooled.candidates[i].id for i in order.tolist())


def _judged(pools: Mapping[str, Pooled], relevant: Mapping[str, Collection[str]]) -> list[str]:
    # Sorted: sums of floats must not depend on the order of a file.
    return sorted(q for q in pools if relevant.get(q))


def _obstacle(pools: Mapping[str, Pooled]) -> str:
    """Why nothing can be fused; "" where it can."""
    every = [c for pool in pools.values() for c in pool.candidates]
    if not every:
        return "the first stage found nothing: nothing to fuse"
    for name, lack in (
        ("dense", sum(c.dense is None for c in every)),
        ("BM25", sum(c.bm25 is None for c in every)),
    ):
        if lack:
            which = "the" if lack == len(every) else f"{lack} of {len(every)}"
            return f"{which} candidates carry no {name} score: there is no fusion to tune"
    return ""


def _table(
    pools: Mapping[str, Pooled], relevant: Mapping[str, Collection[str]], judged: Sequence[str]
) -> FloatArray:
    """(queries, fusions) nDCG@10."""
    return np.array(
        [
            [
                ndcg([p in relevant[q] for p in order], len(relevant[q]))
                for order in (order_by_fusion(pools[q].candidates, f) for f in FUSION_GRID)
            ]
            for q in judged
        ],
        dtype=np.float64,
    )


def _choose(
    table: FloatArray, judged: Sequence[str], groups: Mapping[str, str] | None
) -> FusionFit:
    means = table.mean(axis=0)
    best = int(np.argmax(np.round(means, 12)))
    clusters = None if groups is None else [groups.get(q, q) for q in judged]
    if clusters is not None and len(set(clusters)) < 2:
        clusters = None  # one group says nothing of its own variation
    # The interval and the p-value are not read, so they may be coarse.
    gain = compare(table[:, 0], table[:, best], clusters, resamples=100, permutations=1)
    error = float(gain.standard_error)
    if gain.mean > error:
        picked = best
        note = (
            f"beats plain RRF by {gain.mean:.4f} nDCG@10, more than its standard error {error:.4f}"
        )
    else:
        picked = 0
        note = (
            f"plain RRF stays: the best of {len(FUSION_GRID)} gains {gain.mean:.4f} nDCG@10, not "
            f"more than its standard error {error:.4f}"
        )
    return FusionFit(
        fusion=FUSION_GRID[picked],
        ndcg10=float(means[picked]),
        plain_ndcg10=float(means[0]),
        standard_error=error,
        n=len(judged),
        note=note,
    )


def _best_first(scores: Mapping[str, float]) -> dict[str, float]:
    """Ties stay in first-stage order, in which `scores` comes."""
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
