"""Which passages of which questions are shown, and in which order.

Questions are drawn one after the other, without replacement, each with a chance that follows what
its labels can change. So whoever stops early has judged a sample with known chances, and nothing
that he was shown first speaks for the rest without its weight.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rankgate.decide.floor import Floor
from rankgate.errors import InputError
from rankgate.outcome import Outcome
from rankgate.types import Candidate
from rankgate_eval.stats.ndcg import ndcg

READ = 10
"""Ranks of either way that are kept, unless more are shown: nDCG@10 needs no more."""
_BESIDE = 0.1
"""A probability is beside a threshold that is no further away."""
_THRESHOLD = 0.25
"""What standing on a threshold weighs, beside a difference in nDCG@10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with what is shown for it.

    Attributes:
        id: unique in its session.
        shown: ids of the passages to judge: the best of both ways, once each, in random order.
        without: ids of the best passages without the reranker, best first.
        reranked: likewise with it.
        weight: above 0; at each draw what is left is drawn with a chance in proportion.
    """

    id: str
    text: str
    shown: tuple[str, ...]
    without: tuple[str, ...]
    reranked: tuple[str, ...]
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """One question answered in all ways, on the same candidates.

    Attributes:
        without: as if the gate had skipped.
        reranked: as if it had not.
        threshold: the gate's, of its probability of harm; None where it has none.
    """

    text: str
    without: Outcome
    reranked: Outcome
    decided: Outcome
    threshold: float | None = None
    floor: Floor | None = None


def gain(question: Question, grades: Mapping[str, int], metric: str = "ndcg") -> float:
    """What the reranker adds for a question: nDCG@10, or recall of what is handed over.

    Args:
        question: with both lists.
        grades: passage id to grade; what was not judged is not relevant, as in pooling. 0 where
            nothing is relevant.
        metric: `ndcg`, or `recall@N`.

    Returns:
        With minus without, in [-1, 1].
    """
    ideal = [g for g in grades.values() if g > 0]
    if not ideal:
        return 0.0
    if metric == "ndcg":
        after, before = (
            ndcg([max(0, grades.get(p, 0)) for p in order], ideal)
            for order in (question.reranked, question.without)
        )
        return after - before
    top = int(metric.removeprefix("recall@"))
    after, before = (
        sum(grades.get(p, 0) > 0 for p in order[:top]) / len(ideal)
        for order in (question.reranked, question.without)
    )
    return after - before


@functools.lru_cache(maxsize=1 << 15)
def range_of_gain(question: Question, metric: str = "ndcg") -> tuple[float, float]:
    """The least and the most that labels of the passages shown can make of `gain`.

    Sorted by what each passage alone would add, the best set of relevant ones is a beginning of
    the list; grades above 1 lie between two such sets.
    """
    alone = sorted(question.shown, key=lambda p: gain(question, {p: 1}, metric))
    least, most = 0.0, 0.0
    for order, best in ((alone, False), (alone[::-1], True)):
        for count in range(1, len(order) + 1):
            value = gain(question, dict.fromkeys(order[:count], 1), metric)
            least, most = (least, max(most, value)) if best else (min(least, value), most)
    return least, most


def drawn_questions(
    ways: Mapping[str, Ways], *, top_n: int, at_random: float = 0.3, seed: int = 0
) -> tuple[tuple[Question, ...], dict[str, str]]:
    """Draw all questions into an order, and pool their passages.

    Args:
        ways: question id to its outcomes.
        top_n: passages of each way that are shown.
        at_random: share of the chance that every question has alike, in (0, 1].
        seed: equal seeds give equal orders.

    Returns:
        The questions in the order of drawing, and passage id to text of what is shown.

    Raises:
        InputError: no question, or a number out of range.
    """
    if not ways:
        raise InputError("there is no question to judge")
    if top_n < 1:
        raise InputError(f"top_n must be at least 1, got {top_n}")
    if not 0.0 < at_random <= 1.0:
        raise InputError(f"the random share must be above 0 and at most 1, got {at_random}")
    rng = np.random.default_rng(seed)
    names = _Names()
    seen: set[str] = set()
    made: list[Question] = []
    for key, way in ways.items():
        without, reranked = (
            tuple(dict.fromkeys(names.of(p.candidate) for p in outcome.passages))[
                : max(READ, top_n)
            ]
            for outcome in (way.without, way.reranked)
        )
        shown = sorted({*without[:top_n], *reranked[:top_n]})
        seen.update(shown)
        rng.shuffle(shown)
        made.append(
            Question(
                id=key,
                text=way.text,
                shown=tuple(shown),
                without=without,
                reranked=reranked,
                weight=1.0,
            )
        )
    texts = {key: text for key, text in names.texts.items() if key in seen}
    spans = [range_of_gain(q) for q in made]
    matters = np.array(
        [
            most - least + _THRESHOLD * _on_edge(w)
            for (least, most), w in zip(spans, ways.values(), strict=True)
        ]
    )
    mean = float(matters.mean())
    if mean > 0.0:
        matters /= mean
    weights = at_random + (1.0 - at_random) * matters
    weights = weights.round(6)
    drawn = (replace(made[i], weight=float(weights[i])) for i in draw(weights, rng))
    return tuple(drawn), texts


class _Names:
    """Ids of passages by their texts.

    A system may make up an id at each call, or number what it found, so that one id has many texts.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def of(self, candidate: Candidate) -> str:
        """The id that its text had first; where another text has that, one of its own."""
        name = self._known.get(candidate.text)
        if name is None:
            name = candidate.id
            if name in self.texts:
                name += "-" + hashlib.sha256(candidate.text.encode()).hexdigest()[:12]
            self._known[candidate.text] = name
            self.texts[name] = candidate.text
        return name


def draw(weights: npt.NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """All positions in the order of drawing without replacement, in proportion to (n,) weights.

    By exponential clocks: whichever rings first is the next.
    """
    order = np.argsort(rng.exponential(size=weights.size) / weights, kind="stable")
    return [int(i) for i in order]


def _on_edge(way: Ways) -> float:
    """1 where the gate or the floor could as well have decided otherwise, 0 where neither could."""
    pairs = [
        (way.decided.decision.harm, way.threshold),
        (way.decided.best_probability, None if way.floor is None else way.floor.refuse_below),
    ]
    apart = [abs(p - t) for p, t in pairs if p is not None and t is not None]
    return max(0.0, 1.0 - min(apart, default=math.inf) / _BESIDE)
