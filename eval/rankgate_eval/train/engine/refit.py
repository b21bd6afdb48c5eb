"""The policy's order during training: a relevance model refitted on the model's own scores.

A reranker is not used alone: the relevance model weighs its score against dense and BM25. So
a checkpoint is judged by the order that comes out of that, with weights fitted anew for it on
training questions that it has not learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.relevance import relevance_features
from rankgate.decide.signals import Signals
from rankgate.errors import InputError
from rankgate.types import Candidate
from rankgate_eval.stats.fits import corpus_shares, fit_listwise
from rankgate_eval.stats.ndcg import ndcg

__all__ = ["JudgedList", "ListwiseOrder", "fit_order", "ndcg_at_10"]

FloatArray = npt.NDArray[np.float64]

# What orders within a query; the same features as the default policy's.
_FEATURES = (
    "raw_gap",
    "raw_z",
    "dense_gap",
    "bm25_z",
    "bm25_share",
    "reciprocal_rank",
)
_RIDGE = 0.0025


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedList:
    """The first stage's candidates of one question, and which of them are relevant.

    Attributes:
        corpus: name of the corpus.
        query_id: id of the question.
        group: questions of one group share a document.
        query: its text.
        candidates: best first.
        signals: of the candidates.
        relevant: (n,) bool.
        gold: relevant passages in the corpus, found or not.
    """

    corpus: str
    query_id: str
    group: str
    query: str
    candidates: tuple[Candidate, ...]
    signals: Signals
    relevant: npt.NDArray[np.bool_]
    gold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListwiseOrder:
    """Weights of features that differ within a query.

    Attributes:
        weights: by feature name, for the features as they are.
    """

    weights: Mapping[str, float]

    def logits(self, judged: JudgedList, raw: npt.NDArray[np.float32] | None) -> FloatArray:
        """(n,) values to order by; ties go by first-stage rank."""
        columns = relevance_features(judged.candidates, judged.signals, raw)
        total = np.zeros(len(judged.candidates))
        for name, weight in self.weights.items():
            total += weight * columns[name]
        return total


def fit_order(
    judged: Sequence[JudgedList], raw: Sequence[npt.NDArray[np.float32]] | None
) -> ListwiseOrder:
    """Fit by softmax over each question's candidates, corpora weighing the same.

    Args:
        judged: questions; those whose candidates hold nothing relevant teach nothing.
        raw: the scorer's values of each; None: the first stage alone.

    Raises:
        InputError: no question with a relevant candidate.
    """
    found = [None] * len(judged) if raw is None else raw
    rows = [
        (j.corpus, relevance_features(j.candidates, j.signals, r), j.relevant)
        for j, r in zip(judged, found, strict=True)
        if j.relevant.any()
    ]
    if not rows:
        raise InputError("no question has a relevant passage among its candidates")
    names = [n for n in _FEATURES if all(n in columns for _, columns, _ in rows)]
    matrices = [np.stack([columns[n] for n in names], axis=1) for _, columns, _ in rows]
    weights = fit_listwise(
        matrices,
        [relevant for _, _, relevant in rows],
        corpus_shares([corpus for corpus, _, _ in rows]),
        ridge=_RIDGE,
    )
    return ListwiseOrder(weights={n: float(w) for n, w in zip(names, weights, strict=True)})


def ndcg_at_10(logits: FloatArray, judged: JudgedList) -> float:
    """nDCG@10 in [0, 1] of the order that the logits give; relevant passages not found count."""
    if judged.gold < 1:
        raise InputError(f"question {judged.query_id!r} has no relevant passage")
    return ndcg(judged.relevant[np.argsort(-logits, kind="stable")], judged.gold)
