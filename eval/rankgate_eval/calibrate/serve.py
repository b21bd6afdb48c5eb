"""What the engine would answer a row with, on either path, under given models.

The same arithmetic as `rankgate.decide.ordering`, on rows that were read before; a test holds
the two together, query by query.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.gate import Action
from rankgate.decide.logistic import Logistic
from rankgate.policy import Section
from rankgate_eval.calibrate.rows import Row, Seen, ndcg10

__all__ = ["Placed", "Served", "place", "place_by_first_stage", "place_by_scores", "serve"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """All candidates of a row in one path's order.

    Attributes:
        order: (n,) positions among the candidates, best first.
        probabilities: (m,) of the first m of `order`, falling; empty without a model.
        ndcg10: of the order.
    """

    order: npt.NDArray[np.intp]
    probabilities: FloatArray
    ndcg10: float

    @property
    def best(self) -> float | None:
        """What the floor reads."""
        return float(self.probabilities[0]) if self.probabilities.size else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """A row as a policy serves it, beside what it would have been otherwise.

    Attributes:
        row: the query.
        reranked: on the reranked path, whatever the gate says; where the scorer failed, the
            first stage's.
        skipped: on the first stage's path.
        skips: whether the gate skipped.
        harm: the gate's fitted probability; None without a model.
        refuse_below: the floor that was applied; None: none.
        drop_below: likewise.
    """

    row: Row
    reranked: Placed
    skipped: Placed
    skips: bool
    harm: float | None = None
    refuse_below: float | None = None
    drop_below: float | None = None

    @property
    def placed(self) -> Placed:
        """On the path that was taken."""
        return self.skipped if self.skips else self.reranked

    @property
    def loss(self) -> float:
        """nDCG@10 that skipping costs, whether or not the gate skips; negative where it gains."""
        return self.reranked.ndcg10 - self.skipped.ndcg10

    @property
    def answers(self) -> bool:
        """Whether anything is handed on: something was found, and the floor lets it pass."""
        return self.answers_on(self.placed)

    def answers_on(self, placed: Placed) -> bool:
        """Whether anything would be handed on from this path."""
        if placed.order.size == 0:
            return False
        if placed.best is None or self.refuse_below is None:
            return True
        return placed.best >= self.refuse_below


def place(row: Row, seen: Seen, model: Logistic | None, fallback: FloatArray) -> Placed:
    """Order what was seen by the model's logit, or by `fallback` without one; the rest behind."""
    size = seen.relevant.size
    logits = None
    if model is not None and not model.missing(seen.columns):  # never imputed: not applied
        logits = model.logits(seen.columns, size)
    key = fallback if logits is None else logits
    # Candidates stand in first-stage order, so a stable sort breaks ties by first-stage rank.
    by_key = np.argsort(-key, kind="stable")
    order = np.concatenate([seen.index[by_key], row.behind[: row.relevant.size - size]])
    probabilities = np.empty(0)
    if logits is not None:
        probabilities = 1.0 / (1.0 + np.exp(-np.clip(logits[by_key], -700.0, 700.0)))
    return Placed(order=order, probabilities=probabilities, ndcg10=ndcg10(order, row))


def place_by_first_stage(row: Row, model: Logistic | None) -> Placed:
    """The skipped path: by the first-stage model's logit, or as it came."""
    seen = row.first_stage
    return place(row, seen, model, np.zeros(seen.relevant.size))


def place_by_scores(row: Row, model: Logistic | None) -> Placed | None:
    """The reranked path: by the model's logit, or by raw score; None where the scorer failed."""
    seen = row.reranked
    return None if seen is None else place(row, seen, model, seen.columns["raw"])


def serve(row: Row, section: Section) -> Served:
    """The row under a policy's section."""
    skipped = place_by_first_stage(
        row, None if section.first_stage is None else section.first_stage.model
    )
    reranked = place_by_scores(row, None if section.reranked is None else section.reranked.model)
    decision = section.gate.decide(row.signals, may_skip=section.may_skip)
    return Served(
        row=row,
        reranked=skipped if reranked is None else reranked,
        skipped=skipped,
        # A failed scorer degrades to the first stage, which is not the gate's doing.
        skips=decision.action is Action.SKIP,
        harm=decision.harm,
        refuse_below=section.floor.refuse_below,
        drop_below=section.floor.drop_below,
    )
