"""The one seam of the engine: whoever has an object with `score` can plug it in."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from rankgate.deadline import Deadline
from rankgate.errors import BadScoresError

__all__ = [
    "WHOLE_WINDOWS",
    "Job",
    "ScoreContext",
    "ScoreStats",
    "Scorer",
    "ScorerInfo",
    "Scores",
    "check_scores",
]

WHOLE_WINDOWS = "beyond:"
"""Begins `ScorerInfo.window` where only those texts are cut that the scorer would cut off:
whatever it reads whole has the same score with and without such windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerInfo:
    """Who produced a score, precisely enough that no floor is applied to another's.

    Attributes:
        id: stable name, such as `late-interaction/all-MiniLM-L6-v2`.
        scale: what a value means: `maxsim-mean`, `logit`, `cohere-v2:rerank-v3.5`, ...
            Scores of different scales are never compared or thresholded by one floor.
        revision: version of the weights or of the remote model, "" where unknown.
        weights: sha256 of the weights, "" where there is no file.
        backend: `torch`, `onnxruntime`, `http`, ...
        dtype: `float32`, `int8`, ...
        max_length: tokens of query and passage together that one call reads; None: unknown.
        window: how longer texts are cut, "" where they are not.
    """

    id: str
    scale: str
    revision: str = ""
    weights: str = ""
    backend: str = ""
    dtype: str = ""
    max_length: int | None = None
    window: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreStats:
    """What a scorer counted while scoring; adds up over calls.

    Attributes:
        pairs: (query, passage) pairs that were read.
        windows: model inputs that they were cut into.
        truncated: pairs of which the end was not read.
        tokens: tokens that went through a model.
        calls: requests to a model or server.
        cached: pairs answered from a cache.
        cost: in the currency of whoever set the price.
    """

    pairs: int = 0
    windows: int = 0
    truncated: int = 0
    tokens: int = 0
    calls: int = 0
    cached: int = 0
    cost: float = 0.0

    def __add__(self, other: ScoreStats) -> ScoreStats:
        return ScoreStats(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreContext:
    """What a scorer may know about the request besides its words.

    Attributes:
        deadline: when to stop beginning new chunks; None: never.
        cancelled: set when the caller has gone; checked like the deadline.
    """

    deadline: Deadline | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def remaining(self) -> float:
        """Seconds left; infinite without a deadline."""
        return math.inf if self.deadline is None else self.deadline.remaining()

    @property
    def should_stop(self) -> bool:
        """Whether no new chunk should be begun."""
        return self.cancelled.is_set() or (self.deadline is not None and self.deadline.expired)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of n texts for one query, in input order.

    Attributes:
        values: (n,) float32, higher is better; meaningless where `scored` is False.
        scale: what the values mean; see `ScorerInfo.scale`.
        scored: (n,) bool, False where the scorer did not get to read the text.
        order: (n,) ints, a total order that a stage has decided (best first); None where
            values alone decide. Only stages that read part of the list set it.
        note: why the result is less than was asked for ("" where it is not), such as
            `accurate_failed` of a cascade.
    """

    values: npt.NDArray[np.float32]
    scale: str
    scored: npt.NDArray[np.bool_]
    stats: ScoreStats = field(default_factory=ScoreStats)
    order: npt.NDArray[np.intp] | None = None
    note: str = ""

    @classmethod
    def full(cls, values: npt.ArrayLike, scale: str, *, stats: ScoreStats | None = None) -> Scores:
        """Scores where every text was read."""
        array = np.asarray(values, dtype=np.float32).reshape(-1)
        return cls(
            values=array,
            scale=scale,
            scored=np.ones(array.shape, dtype=np.bool_),
            stats=ScoreStats(pairs=array.size) if stats is None else stats,
        )

    @property
    def complete(self) -> bool:
        """Whether every text was read."""
        return bool(self.scored.all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One query and the texts to score for it."""

    query: str
    texts: Sequence[str]


@runtime_checkable
class Scorer(Protocol):
    """Scores texts for a query.

    Optional, found by name: `score_many(jobs, context) -> list[Scores]` for several queries
    in one go, and the native async twins `ascore` and `ascore_many`. Where they are absent,
    `rankgate.scorers.steps` supplies them.
    """

    @property
    def info(self) -> ScorerInfo:
        """Who is scoring."""

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Score every text; a text that could not be read in time has `scored` False."""


def check_scores(scores: Scores, n: int) -> Scores:
    """Return `scores` unchanged if they are usable for n texts.

    Raises:
        BadScoresError: wrong type or shape, or a NaN or infinite value that counts as scored.
    """
    if not isinstance(scores, Scores):
        raise BadScoresError(
            f"a scorer must return rankgate.Scores, got {type(scores).__name__}. "
            "Wrap plain numbers with Scores.full(values, scale)."
        )
    if scores.values.shape != (n,) or scores.scored.shape != (n,):
        raise BadScoresError(
            f"{n} texts were handed over, but {scores.values.shape} scores and "
            f"{scores.scored.shape} flags came back"
        )
    bad = ~np.isfinite(scores.values) & scores.scored
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise BadScoresError(
            f"score {where} of {n} is {scores.values[where]}; a scorer that cannot read a text "
            "must set scored=False for it"
        )
    if scores.order is not None and not np.array_equal(np.sort(scores.order), np.arange(n)):
        raise BadScoresError(f"the order that came back is not a permutation of {n} texts")
    return scores
