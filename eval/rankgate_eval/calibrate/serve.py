"""What the engine answers a row with, on either path: its own `rank_list` and gate, asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rankgate.decide.fidelity import Handed, skipping_changes, weighty_missed
from rankgate.decide.floor import Band, Floor
from rankgate.decide.gate import Action
from rankgate.decide.logistic import Logistic, sigmoid
from rankgate.decide.rank import rank_list
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate_eval.calibrate.rows import Row, ndcg10

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """All candidates of a row in one path's order.

    Attributes:
        order: (n,) positions among the candidates, best first.
        probabilities: (m,) of the first m of `order`; empty without a model. Falling, unless the
            model judges an order that is the first stage's own.
        ndcg10: of the order.
    """

    order: npt.NDArray[np.intp]
    probabilities: FloatArray
    ndcg10: float

    @property
    def best(self) -> float | None:
        """What the floor reads."""
        return float(self.probabilities.max()) if self.probabilities.size else None


Placings = Sequence[Sequence[Placed]]
"""By folding, each row as models order it that have not seen it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """A row as a policy serves it, beside what it would have been otherwise.

    Attributes:
        reranked: on the reranked path, whatever the gate says; where the scorer failed, the
            first stage's.
        skipped: on the first stage's path.
        harm: the gate's fitted probability; None without a model.
    """

    row: Row
    reranked: Placed
    skipped: Placed
    skips: bool
    floor: Floor
    top_n: int = 5
    harm: float | None = None

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

    @property
    def changed(self) -> bool:
        """Whether skipping changes what is handed over, or would; no label is asked."""
        return skipping_changes(self.handed(self.reranked), self.handed(self.skipped))

    @property
    def missed(self) -> bool:
        """Whether skipping misses a passage that reranking hands over with weight."""
        return weighty_missed(self.handed(self.reranked), self.handed(self.skipped))

    @property
    def weak(self) -> bool:
        """Whether it is answered, but as weak evidence."""
        return self.answers and self.floor.band(self.placed.best) is Band.WEAK

    def handed(self, placed: Placed) -> Handed:
        """What this path hands over."""
        ids = placed.order.tolist()
        known: list[float | None] = [*placed.probabilities.tolist()]
        known += [None] * (len(ids) - len(known))
        dropped = [self.floor.drops(p) for p in known]
        # As the engine: what nobody read goes where anything is dropped.
        gone = [d or (p is None and any(dropped)) for d, p in zip(dropped, known, strict=True)]
        kept = [i for i, g in enumerate(gone) if not g][: self.top_n]
        refused = not self.answers_on(placed)
        return Handed(
            ids=[ids[i] for i in kept], probabilities=[known[i] for i in kept], refused=refused
        )

    def answers_on(self, placed: Placed) -> bool:
        """Whether anything would be handed on from this path."""
        if placed.order.size == 0:
            return False
        return not (self.floor.refuses(placed.best) or self.floor.drops(placed.best))


def _placed(row: Row, section: Section, *, scored: bool) -> Placed:
    """The row on one path, by the engine's own function."""
    listed = row.listed if scored else replace(row.listed, scores=None)
    ranking = rank_list(listed, section)
    logits = ranking.logits[~np.isnan(ranking.logits)]
    return Placed(
        order=ranking.order,
        probabilities=np.array([sigmoid(v) for v in logits.tolist()]),
        ndcg10=ndcg10(ranking.order, row),
    )


def place_by_first_stage(row: Row, model: Logistic | None) -> Placed:
    """The skipped path: by the first-stage model's logit, or as it came."""
    first = None if model is None else RelevanceModel(model=model)
    return _placed(row, Section(first_stage=first, k=_k(row)), scored=False)


def place_by_scores(row: Row, model: Logistic | None) -> Placed | None:
    """The reranked path: by the model's logit, or by raw score; None where the scorer failed."""
    scores = row.listed.scores
    if scores is None:
        return None
    reranked = None if model is None else RelevanceModel(model=model, scale=scores.scale)
    return _placed(row, Section(reranked=reranked, k=_k(row)), scored=True)


def _k(row: Row) -> int:
    return max(1, row.listed.within)


def serve(row: Row, section: Section, *, before: Served | None = None) -> Served:
    """The row under a policy's section.

    Args:
        before: the row under a section with the same relevance models: nothing is ordered anew.
    """
    if before is None:
        skipped = place_by_first_stage(
            row, None if section.first_stage is None else section.first_stage.model
        )
        scored = place_by_scores(row, None if section.reranked is None else section.reranked.model)
        # A failed scorer degrades to the first stage, which is not the gate's doing.
        reranked = skipped if scored is None else scored
    else:
        skipped, reranked = before.skipped, before.reranked
    decision = section.decide(row.signals)
    return Served(
        row=row,
        reranked=reranked,
        skipped=skipped,
        skips=decision.action is Action.SKIP,
        harm=decision.harm,
        floor=section.floor,
        top_n=section.top_n,
    )
