"""Looks at a model: how good the policy's order is with its scores.

A reranker is not used alone: the policy weighs its score against dense and BM25. So a step is
judged by the order that comes out of that, with weights fitted anew for it on training questions
that it has not learned from. One half of dev chooses the step, the other judges it. Such an order
is within one list and never a probability: what a policy orders and floors by is `rankgate.decide`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.signals import Signals
from rankgate.errors import InputError
from rankgate.types import Candidate
from rankgate_eval.stats.fits import corpus_shares, fit_listwise
from rankgate_eval.stats.ndcg import ndcg
from rankgate_eval.train.mining import Mined

FloatArray = npt.NDArray[np.float64]


def list_features(
    candidates: Sequence[Candidate], raw: npt.NDArray[np.float32] | None = None
) -> dict[str, FloatArray]:
    """Columns of (n,) features; those that the candidates' scores do not give are absent.

    `_z` is standardised within these candidates (0 where all are equal), `_gap` the distance to
    the best (<= 0), `bm25_share` the share of the best (0..1).
    """
    columns: dict[str, FloatArray] = {}
    if not candidates:
        return columns
    if raw is not None:
        columns |= _relative("raw", raw.astype(np.float64))
    if all(c.dense is not None for c in candidates):
        columns |= _relative("dense", np.array([c.dense for c in candidates], dtype=np.float64))
    if all(c.bm25 is not None for c in candidates):
        bm25 = np.array([c.bm25 for c in candidates], dtype=np.float64)
        columns |= _relative("bm25", bm25)
        top = float(bm25.max())
        columns["bm25_share"] = bm25 / top if top > 0 else np.zeros_like(bm25)
    columns["reciprocal_rank"] = 1.0 / np.array([c.rank for c in candidates], dtype=np.float64)
    return columns


def _relative(name: str, values: FloatArray) -> dict[str, FloatArray]:
    std = float(values.std())
    flat = std <= 1e-9 * max(1.0, float(np.abs(values).max()))
    z = np.zeros_like(values) if flat else (values - values.mean()) / std
    return {f"{name}_gap": values - values.max(), f"{name}_z": z}


Raw = Sequence[npt.NDArray[np.float32]]
Score = Callable[[str, Sequence[str]], npt.NDArray[np.float32]]
"""(n,) scores of a question and n texts, without gradients and dropout."""
Progress = Callable[[int, int], None]

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
        group: questions of one group share a document.
        candidates: best first.
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
        columns = list_features(judged.candidates, raw)
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
        (j.corpus, list_features(j.candidates, r), j.relevant)
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


def judged_list(corpus: str, mined: Mined) -> JudgedList:
    """A mined question as something to order."""
    positives = set(mined.query.positives)
    return JudgedList(
        corpus=corpus,
        query_id=mined.query.id,
        group=mined.query.group or mined.query.id,
        query=mined.query.text,
        candidates=mined.candidates,
        signals=mined.signals,
        relevant=np.array([c.id in positives for c in mined.candidates], dtype=np.bool_),
        gold=len(positives),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look found; all values are nDCG@10 in [0, 1].

    Attributes:
        ndcg: of the policy's order, mean over corpora, each weighing the same.
        first_stage: of the first stage's own relevance model, by corpus: what there is to beat.
        per_query: (corpus, query id) to the value of the policy's order.
        first_stage_per_query: the same of the first stage's own relevance model.
    """

    ndcg: float
    by_corpus: Mapping[str, float]
    first_stage: Mapping[str, float]
    per_query: Mapping[tuple[str, str], float]
    first_stage_per_query: Mapping[tuple[str, str], float]


def judge(fit: Sequence[JudgedList], part: Sequence[JudgedList], raw: Raw) -> Look:
    """Fit the order on one part, measure it on another.

    Args:
        raw: scores of all of them, those to fit on first.
    """
    order = fit_order(fit, raw[: len(fit)])
    plain = fit_order(fit, None)
    values = {
        (j.corpus, j.query_id): ndcg_at_10(order.logits(j, r), j)
        for j, r in zip(part, raw[len(fit) :], strict=True)
    }
    before = {(j.corpus, j.query_id): ndcg_at_10(plain.logits(j, None), j) for j in part}
    by_corpus = _means(values)
    return Look(
        ndcg=float(np.mean(list(by_corpus.values()))),
        by_corpus=by_corpus,
        first_stage=_means(before),
        per_query=values,
        first_stage_per_query=before,
    )


def _means(values: Mapping[tuple[str, str], float]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for (corpus, _), value in values.items():
        found.setdefault(corpus, []).append(value)
    return {corpus: float(np.mean(listed)) for corpus, listed in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class DevSet:
    """Questions to fit the order on, and two halves of dev that share no document.

    Attributes:
        fit: training questions that no list is made of.
        choose: looked at while training: they choose the step.
        decide: read at the end alone: they say whether the result is better.

    Raises:
        InputError: one of them is empty, or a document stands in both halves.
    """

    fit: tuple[JudgedList, ...]
    choose: tuple[JudgedList, ...]
    decide: tuple[JudgedList, ...]

    def __post_init__(self) -> None:
        if not (self.choose and self.decide):
            raise InputError(
                f"dev has {len(self.choose)} questions to choose the step by and "
                f"{len(self.decide)} to judge it by; both halves need some, on different "
                "documents: give more labelled questions"
            )
        both = {(j.corpus, j.group) for j in self.choose}
        both &= {(j.corpus, j.group) for j in self.decide}
        if both:
            raise InputError(
                f"{len(both)} documents, {min(both)[1]!r} for one, stand in both halves of dev: "
                "what chose would judge"
            )
        if not any(j.relevant.any() for j in self.fit):
            raise InputError(
                "none of the training questions that were kept back has its passage among its "
                "candidates, so no order can be fitted; give more labelled questions"
            )

    def look(
        self, score: Score, *, deciding: bool = False, progress: Progress | None = None
    ) -> Look:
        """Score the candidates of one half with a model and judge the order."""
        part = self.decide if deciding else self.choose
        return judge(self.fit, part, raw_scores(score, (*self.fit, *part), progress=progress))


def raw_scores(
    score: Score, judged: Sequence[JudgedList], *, progress: Progress | None = None
) -> list[npt.NDArray[np.float32]]:
    """(n,) scores of each question's candidates."""
    found = []
    for done, one in enumerate(judged, 1):
        texts = [c.text for c in one.candidates]
        values = score(one.query, texts) if texts else np.zeros(0)
        found.append(np.asarray(values, dtype=np.float32))
        if progress is not None:
            progress(done, len(judged))
    return found
