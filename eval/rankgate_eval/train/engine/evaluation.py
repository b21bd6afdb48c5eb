"""Looks at a model from dev: how good the policy's order is with its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate_eval.train.engine.lists import TrainingList
from rankgate_eval.train.engine.loss import list_loss
from rankgate_eval.train.engine.mining import Mined
from rankgate_eval.train.engine.model import Ranker
from rankgate_eval.train.engine.refit import JudgedList, ListwiseOrder, fit_order, ndcg_at_10

if TYPE_CHECKING:
    import torch

__all__ = ["DevSet", "Look", "judged_list", "list_scores", "mean_list_loss", "raw_scores"]

Progress = Callable[[int, int], None]
_CHUNK = 64


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
    """What one look at dev found; all values are nDCG@10 in [0, 1].

    Attributes:
        ndcg: of the policy's order, mean over corpora, each weighing the same.
        by_corpus: the same for each corpus.
        first_stage: of the first stage's own relevance model, by corpus: what there is to beat.
        per_query: (corpus, query id) to the value of the policy's order.
        first_stage_per_query: the same of the first stage's own relevance model.
        order: the weights that were fitted for this look.
    """

    ndcg: float
    by_corpus: Mapping[str, float]
    first_stage: Mapping[str, float]
    per_query: Mapping[tuple[str, str], float]
    first_stage_per_query: Mapping[tuple[str, str], float]
    order: ListwiseOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class DevSet:
    """Questions to fit the order on and questions to look at.

    Attributes:
        fit: training questions that no list is made of.
        dev: questions of the dev split.

    Raises:
        InputError: either is empty.
    """

    fit: tuple[JudgedList, ...]
    dev: tuple[JudgedList, ...]

    def __post_init__(self) -> None:
        if not self.dev:
            raise InputError("there are no dev questions with candidates to look at")
        if not any(j.relevant.any() for j in self.fit):
            raise InputError(
                "none of the training questions that were kept back has its passage among its "
                "candidates, so no order can be fitted; give more labelled questions"
            )

    def look(self, ranker: Ranker, *, progress: Progress | None = None) -> Look:
        """Score all candidates with a model, fit the order on one part, measure on the other."""
        return self.judge(raw_scores(ranker, self.every, progress=progress))

    @property
    def every(self) -> tuple[JudgedList, ...]:
        """All questions, those to fit on first: the order in which `judge` wants scores."""
        return (*self.fit, *self.dev)

    def judge(self, raw: Sequence[npt.NDArray[np.float32]]) -> Look:
        """The same from scores that are there already, one array for each of `every`."""
        order = fit_order(self.fit, raw[: len(self.fit)])
        plain = fit_order(self.fit, None)
        values = {
            (j.corpus, j.query_id): ndcg_at_10(order.logits(j, r), j)
            for j, r in zip(self.dev, raw[len(self.fit) :], strict=True)
        }
        before = {(j.corpus, j.query_id): ndcg_at_10(plain.logits(j, None), j) for j in self.dev}
        by_corpus = _means(values)
        return Look(
            ndcg=float(np.mean(list(by_corpus.values()))),
            by_corpus=by_corpus,
            first_stage=_means(before),
            per_query=values,
            first_stage_per_query=before,
            order=order,
        )


def _means(values: Mapping[tuple[str, str], float]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for (corpus, _), value in values.items():
        found.setdefault(corpus, []).append(value)
    return {corpus: float(np.mean(listed)) for corpus, listed in found.items()}


def raw_scores(
    ranker: Ranker, judged: Sequence[JudgedList], *, progress: Progress | None = None
) -> list[npt.NDArray[np.float32]]:
    """(n,) scores of each question's candidates, without gradients and dropout."""
    import torch

    was_training = ranker.module.training
    ranker.module.eval()
    found = []
    try:
        with torch.no_grad():
            for done, one in enumerate(judged, 1):
                texts = [c.text for c in one.candidates]
                parts = [
                    ranker.scores([(one.query, texts[at : at + _CHUNK])])[0].cpu().numpy()
                    for at in range(0, len(texts), _CHUNK)
                ]
                values = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
                found.append(values.astype(np.float32))
                if progress is not None:
                    progress(done, len(judged))
    finally:
        ranker.module.train(was_training)
    return found


def list_scores(ranker: Ranker, lists: Sequence[TrainingList]) -> list[torch.Tensor]:
    """(n,) what the loss looks at for each list: the ranker's scores plus the list's prior."""
    found = ranker.scores([(s.query, s.texts) for s in lists])
    return [
        values if s.prior is None else values + values.new_tensor(s.prior)
        for values, s in zip(found, lists, strict=True)
    ]


def mean_list_loss(ranker: Ranker, lists: Sequence[TrainingList]) -> float:
    """The loss on lists that are not learned from; chance without a prior is log(passages).

    Raises:
        InputError: no list.
    """
    import torch

    if not lists:
        raise InputError("the loss needs at least one list")
    was_training = ranker.module.training
    ranker.module.eval()
    try:
        with torch.no_grad():
            losses = [float(list_loss(list_scores(ranker, [s]))) for s in lists]
    finally:
        ranker.module.train(was_training)
    return float(np.mean(losses))
