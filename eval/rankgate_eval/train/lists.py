"""Lists to learn from: one passage that answers, mined ones that do not, and a random one.

Every choice is a function of seed, epoch and place, never of what was drawn before, so a
training that is resumed goes on as if it had not been stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError
from rankgate_eval.train.augment import spoil
from rankgate_eval.train.corpus import TrainingCorpus
from rankgate_eval.train.list_features import list_features
from rankgate_eval.train.looks import JudgedList, fit_order
from rankgate_eval.train.mining import Mined
from rankgate_eval.train.settings import TrainingSettings

__all__ = [
    "FirstStagePrior",
    "ListBuilder",
    "TrainingList",
    "corpus_shares",
    "epoch_lists",
    "epoch_plan",
]

_LEAST_SLOPE = 0.1


def corpus_shares(sizes: Mapping[str, int], *, temperature: float) -> dict[str, float]:
    """Share of each corpus in an epoch: size to the power 1/temperature, normalised.

    1 draws in proportion to size; the higher, the more equal. (mT5: Xue et al., arXiv
    2010.11934, section 3.2, writes alpha = 1/temperature and uses 0.3.)

    Raises:
        InputError: a temperature below 1, or no questions.
    """
    if temperature < 1.0:
        raise InputError(f"the temperature must be 1 or more, got {temperature}")
    if not any(sizes.values()):
        raise InputError("no corpus has a question to learn from")
    weights = {name: float(n) ** (1.0 / temperature) if n else 0.0 for name, n in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def epoch_plan(
    questions: Mapping[str, Sequence[str]],
    *,
    lists: int,
    temperature: float,
    seed: int,
    epoch: int,
) -> list[tuple[str, str]]:
    """(corpus, question id) of each list of an epoch, shuffled.

    Within a corpus questions come without replacement; one comes again only when all have been.
    The part of a large corpus that an epoch has no room for comes first in the next one.
    """
    shares = corpus_shares(
        {name: len(ids) for name, ids in questions.items()}, temperature=temperature
    )
    plan: list[tuple[str, str]] = []
    for number, (name, count) in enumerate(_counts(shares, lists).items()):
        ids = questions[name]
        for place in range(epoch * count, (epoch + 1) * count):
            turn, index = divmod(place, len(ids))
            order = np.random.default_rng([seed, 11, number, turn]).permutation(len(ids))
            plan.append((name, ids[int(order[index])]))
    shuffled = np.random.default_rng([seed, 13, epoch]).permutation(len(plan))
    return [plan[int(i)] for i in shuffled]


def _counts(shares: Mapping[str, float], lists: int) -> dict[str, int]:
    """Whole numbers that add up to `lists`, by largest remainder."""
    exact = {name: share * lists for name, share in shares.items() if share > 0.0}
    counts = {name: int(value) for name, value in exact.items()}
    rest = lists - sum(counts.values())
    by_rest = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_rest[:rest]:
        counts[name] += 1
    return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStagePrior:
    """The policy's order without the scorer's part: what the first stage knows already.

    A scorer that is trained alone learns mostly what dense and BM25 say anyway; with their part
    of the order added to its scores in the loss, what is left to learn is where they are wrong.

    Attributes:
        weights: of the first stage's features, by name.
        slope: what a unit of the scorer's own score weighs beside them, at least 0.1.
    """

    weights: Mapping[str, float]
    slope: float

    @classmethod
    def fitted(
        cls, judged: Sequence[JudgedList], raw: Sequence[npt.NDArray[np.float32]]
    ) -> FirstStagePrior:
        """From an order that is fitted together with a scorer's values.

        Args:
            judged: training questions that no list is made of.
            raw: the scorer's values of each.

        Raises:
            InputError: no question with a relevant candidate.
        """
        weights = dict(fit_order(judged, raw).weights)
        gap, z = weights.pop("raw_gap", 0.0), weights.pop("raw_z", 0.0)
        deviations = [max(float(np.std(values)), 1e-3) for values in raw if len(values)]
        slope = gap + z * float(np.mean([1.0 / d for d in deviations]))
        return cls(weights=weights, slope=max(slope, _LEAST_SLOPE))

    def logits(self, mined: Mined, ids: Sequence[str]) -> tuple[float, ...]:
        """One value a passage; what the first stage did not find gets the least of what it did."""
        columns = list_features(mined.candidates)
        total = np.zeros(len(mined.candidates))
        for name, weight in self.weights.items():
            total += weight * columns[name]
        known = {c.id: float(v) for c, v in zip(mined.candidates, total, strict=True)}
        least = min(known.values(), default=0.0)
        return tuple(known.get(i, least) for i in ids)


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
        open: how many passages behind the positive the model chooses its negatives from; 0: all
            passages are taken as they are.
    """

    corpus: str
    query_id: str
    query: str
    passage_ids: tuple[str, ...]
    texts: tuple[str, ...]
    prior: tuple[float, ...] | None = None
    open: int = 0


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
        self, corpus: str, query_id: str, *, epoch: int, place: int, pool: int | None = None
    ) -> TrainingList:
        """The list at one place of an epoch.

        A question with too few mined passages gets random ones in their place; a corpus with
        too few passages gives a shorter list.

        Args:
            corpus: name of the corpus.
            query_id: of the question.
            epoch: from 0.
            place: in the epoch's plan.
            pool: mined passages from which the model is to choose; None: it is not asked.
        """
        mined, whole = self.mined[corpus][query_id], self.corpora[corpus]
        rng = np.random.default_rng([self.seed, 17, epoch, place])
        positives = mined.query.positives
        positive = positives[int(rng.integers(len(positives)))]
        drawn = self._drawn(mined, rng, self.negatives if pool is None else pool)
        chosen = [positive, *drawn]
        taken = {*chosen, *positives, *mined.excluded}
        lacking = max(0, self.negatives - len(drawn))
        chosen += _randoms(whole, rng, lacking + self.randoms, taken)
        return TrainingList(
            corpus=corpus,
            query_id=query_id,
            query=spoil(mined.query.text, rng, share=self.spoiled),
            passage_ids=tuple(chosen),
            texts=tuple(whole.passages[p] for p in chosen),
            prior=None if self.prior is None else self.prior.logits(mined, chosen),
            open=len(drawn) if len(drawn) > self.negatives else 0,
        )

    def _drawn(self, mined: Mined, rng: np.random.Generator, count: int) -> list[str]:
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


def epoch_lists(
    builder: ListBuilder,
    questions: Mapping[str, Sequence[str]],
    settings: TrainingSettings,
    epoch: int,
) -> list[TrainingList]:
    """The lists of an epoch (from 0) in their order, open ones where the model is to choose."""
    s = settings
    plan = epoch_plan(questions, lists=s.lists, temperature=s.temperature, seed=s.seed, epoch=epoch)
    pool = s.mine_pool if s.mine_again is not None and epoch >= s.mine_again else None
    return [
        builder.build(corpus, query, epoch=epoch, place=place, pool=pool)
        for place, (corpus, query) in enumerate(plan)
    ]
