"""Lists to learn from: one passage that answers, mined ones that do not, and a random one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankgate.errors import InputError
from rankgate_eval.train.engine.augment import spoil
from rankgate_eval.train.engine.data import TrainingCorpus
from rankgate_eval.train.engine.mining import Mined
from rankgate_eval.train.engine.prior import FirstStagePrior

__all__ = ["ListBuilder", "TrainingList"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingList:
    """One question and the passages to choose from.

    Attributes:
        corpus: name of the corpus.
        query_id: id of the question.
        query: its text, possibly spoiled.
        passage_ids: the positive first, then the negatives, all different.
        texts: their texts.
        prior: what is added to each one's score in the loss; None: nothing.
    """

    corpus: str
    query_id: str
    query: str
    passage_ids: tuple[str, ...]
    texts: tuple[str, ...]
    prior: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListBuilder:
    """Makes lists; what it draws depends on seed, epoch and place alone.

    Attributes:
        corpora: by name.
        mined: corpus name to question id to what was mined for it.
        negatives: mined passages a list, drawn from the `depth` hardest.
        randoms: random passages a list: they keep the far end of the scale in place.
        depth: how far down the first stage mined passages are taken.
        spoiled: share of the questions that get typos or speech errors.
        seed: of every draw.
        prior: gives the lists' priors; None: they have none.
    """

    corpora: Mapping[str, TrainingCorpus]
    mined: Mapping[str, Mapping[str, Mined]]
    negatives: int = 4
    randoms: int = 1
    depth: int = 20
    spoiled: float = 0.15
    seed: int = 0
    prior: FirstStagePrior | None = None

    def __post_init__(self) -> None:
        if self.negatives < 1 or self.randoms < 0 or self.depth < 1:
            raise InputError(
                "a list needs 1 mined passage or more, 0 random ones or more, and a depth of 1 "
                f"or more; got {self.negatives}, {self.randoms}, {self.depth}"
            )
        if not 0.0 <= self.spoiled <= 1.0:
            raise InputError(f"spoiled is a share in [0, 1], got {self.spoiled}")

    def build(
        self,
        corpus: str,
        query_id: str,
        *,
        epoch: int,
        place: int,
        hardest: Sequence[str] | None = None,
    ) -> TrainingList:
        """The list at one place of an epoch.

        A question with too few mined passages gets random ones in their place; a corpus with
        too few passages gives a shorter list.

        Args:
            corpus: name of the corpus.
            query_id: of the question.
            epoch: from 0.
            place: in the epoch's plan.
            hardest: negatives that the model chose; None: drawn from what was mined.
        """
        mined, whole = self.mined[corpus][query_id], self.corpora[corpus]
        rng = np.random.default_rng([self.seed, 17, epoch, place])
        positives = mined.query.positives
        positive = positives[int(rng.integers(len(positives)))]
        chosen = [positive]
        chosen += self.drawn(mined, rng, self.negatives) if hardest is None else hardest
        taken = {*chosen, *positives, *mined.excluded}
        chosen += _randoms(whole, rng, 1 + self.negatives + self.randoms - len(chosen), taken)
        return TrainingList(
            corpus=corpus,
            query_id=query_id,
            query=spoil(mined.query.text, rng, share=self.spoiled),
            passage_ids=tuple(chosen),
            texts=tuple(whole.passages[p] for p in chosen),
            prior=None if self.prior is None else self.prior.logits(mined, chosen),
        )

    def drawn(self, mined: Mined, rng: np.random.Generator, count: int) -> list[str]:
        """`count` of the `depth` hardest negatives, or all of them where they are fewer."""
        pool = mined.negatives[: self.depth]
        if not pool:
            return []
        picked = rng.choice(len(pool), min(count, len(pool)), replace=False)
        return [pool[int(i)] for i in picked]


def _randoms(
    corpus: TrainingCorpus, rng: np.random.Generator, count: int, taken: set[str]
) -> list[str]:
    ids = list(corpus.passages)
    if len(ids) <= count + len(taken):  # too few to draw until enough are free
        free = [i for i in ids if i not in taken]
        return [free[int(i)] for i in rng.permutation(len(free))[:count]]
    found: list[str] = []
    while len(found) < count:
        one = ids[int(rng.integers(len(ids)))]
        if one not in taken:
            found.append(one)
            taken = taken | {one}
    return found
