"""Fits a relevance model in two steps: what orders, then what makes a probability of it.

The features' weights are fitted list-wise (softmax over a query's candidates, ListNet's top-one
loss: Cao et al., ICML 2007, doi:10.1145/1273496.1273513), because they order. Slope and intercept
are then fitted point-wise on the ten best candidates, answerable and unanswerable queries
together, because they make the probability. It is one of a mixture of the two kinds, which weights
set: within each kind nothing changes with the mixture, while what is irrelevant does (of
unanswerable questions everything), so no offset of the log-odds alone would be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.logistic import Feature, Logistic
from rankgate.errors import InputError
from rankgate.live.reliability import mixture_weights
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.rows import Row, Seen, evidence
from rankgate_eval.stats.fits import corpus_shares, fit_listwise, fit_logistic

FloatArray = npt.NDArray[np.float64]

_FIRST_STAGE: dict[FirstStageKind, tuple[str, ...]] = {
    FirstStageKind.HYBRID: ("dense", "bm25_per_word"),
    FirstStageKind.DENSE: ("dense",),
    FirstStageKind.BM25: ("bm25_per_word",),
    FirstStageKind.ORDER: ("coverage",),
}

_READ = 10  # best candidates of a query, on which the probability is fitted
_POINTWISE_RIDGE = 1e-3
_NO_SPREAD = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRelevance:
    """A logistic over relevance features, and what was left out of it.

    Attributes:
        dropped: feature to the reason: it does not vary, or its weight contradicts its meaning.
        n: queries that it was fitted on.
        unanswerable: share of unanswerable queries in the mixture that it gives probabilities of.
    """

    model: Logistic
    dropped: dict[str, str]
    n: int
    unanswerable: float

    @property
    def reads_raw(self) -> bool:
        """Whether any of the scorer's values is left in it."""
        return any("raw" in name for name in self.model.names)


def variants_of(kind: FirstStageKind, *, scored: bool) -> tuple[tuple[str, ...], ...]:
    """Sets of features to choose from, all of them first; what else is better is found by fitting.

    Beside the late interaction of the same encoder the cosine tells nothing new, and raw scores
    alone (Platt's scaling) leave the scorer's order as it is.
    """
    first = _FIRST_STAGE[kind]
    if not scored:
        return (first, *((name,) for name in first if len(first) > 1))
    terms = tuple(name for name in first if name != "dense")
    return tuple(dict.fromkeys((("raw", *first), ("raw", *terms), ("raw",))))


def fit_relevance(
    rows: Sequence[Row],
    names: Sequence[str],
    *,
    scored: bool,
    ridge: float = 0.005,
    prior: float | None = None,
) -> FittedRelevance:
    """The two steps of the module's docstring, corpora weighing the same.

    More of any of these features means more relevant, so a feature whose weight comes out
    negative is dropped, the worst first, and the rest is fitted again. It would be an artefact of
    its neighbours, or of a scorer that is wrong; either is a poor thing to rank by.

    Args:
        rows: queries, answerable and not.
        scored: the candidates as the scorer read them, or as the first stage gave them.
        ridge: of the list-wise step, on standardised features, against the mean loss of a query.
        prior: share of unanswerable queries that the probabilities are for; None: as they come.

    Raises:
        InputError: no query has a relevant passage among its candidates, or none is unanswerable
            though `prior` says that some are.
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
    weights_of = _query_weights([row for row, _ in usable], prior)
    dropped: dict[str, str] = {}
    kept = _varying([seen for _, seen in listed], names, dropped)
    while True:
        weights = _listwise(listed, kept, ridge)
        if not (weights < 0.0).any():
            break
        kept = _without_worst(kept, weights, dropped)
    slope, intercept = _pointwise(usable, kept, weights, weights_of)
    if kept and slope <= 0.0:
        # What orders says nothing across queries, or the reverse: then it may not order either.
        dropped.update(dict.fromkeys(kept, "tells nothing of relevance across queries"))
        kept, weights = (), np.empty(0)
        slope, intercept = _pointwise(usable, kept, weights, weights_of)
    unanswered = np.array([not row.answerable for row, _ in usable])
    features = [
        Feature(name=name, weight=float(slope * w)) for name, w in zip(kept, weights, strict=True)
    ]
    return FittedRelevance(
        model=Logistic(intercept=intercept, features=tuple(features)),
        dropped=dropped,
        n=len(usable),
        unanswerable=float(weights_of[unanswered].sum() / weights_of.sum()),
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


def _query_weights(rows: Sequence[Row], prior: float | None) -> FloatArray:
    """(n,) of the queries in the point-wise step: corpora alike, and within each the mixture."""
    corpora = [row.corpus for row in rows]
    counts = {c: corpora.count(c) for c in dict.fromkeys(corpora)}
    weights: FloatArray = evidence(rows) * np.array([1.0 / counts[c] for c in corpora])
    if prior is not None:
        for corpus in counts:
            at = [i for i, c in enumerate(corpora) if c == corpus]
            weights[at] *= mixture_weights([not rows[i].answerable for i in at], prior)
    return weights


def _pointwise(
    usable: Sequence[tuple[Row, Seen]],
    names: Sequence[str],
    weights: FloatArray,
    of_queries: FloatArray,
) -> tuple[float, float]:
    """Slope and intercept that make a probability of what orders."""
    xs, ys, shares = [], [], []
    for (_, seen), weight in zip(usable, of_queries.tolist(), strict=True):
        s = seen.matrix(names) @ weights
        top = np.argsort(-s, kind="stable")[:_READ]
        xs.append(s[top])
        ys.append(seen.relevant[top])
        shares.append(np.full(top.size, weight / top.size))
    x = np.concatenate(xs)[:, None] if names else np.empty((sum(map(len, xs)), 0))
    y, share = np.concatenate(ys), np.concatenate(shares)
    intercept, own = fit_logistic(x, y, share, ridge=_POINTWISE_RIDGE)
    return (float(own[0]) if names else 1.0), intercept
