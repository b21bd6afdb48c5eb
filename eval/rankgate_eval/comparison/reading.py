"""What is read for a comparison: one retrieval, and every scorer's scores at every K.

Every scorer reads the deepest list of every query once. What it would say of a shorter list is
then known, as long as it scores each passage by itself; that is checked on the timed queries,
and a scorer of which it does not hold reads every list at every K.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankgate.scorers import ScoreContext, Scorer, ScorerInfo, Scores
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.errors import SystemFailedError
from rankgate_eval.run.collect import Collected, collect, reached_depth
from rankgate_eval.run.experiment import EvalSettings, Teller, prepare
from rankgate_eval.run.pool import Pooled, score_pool
from rankgate_eval.run.system import FirstStage, IndexStage

_TIMED = 100
_SAME = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """Candidates of every query: for what needs no scorer, and for the scorers.

    Attributes:
        base: to the depth of the recall curve; its head of `k` is what the baseline orders.
        read: as deep as the scorers read.
        depth: of the recall curve.
    """

    base: Collected
    read: Collected
    k: int
    depth: int
    notes: tuple[str, ...]


def retrieve(
    data: Dataset,
    stage: FirstStage,
    judged: Sequence[str],
    *,
    deepest: int,
    k: int,
    asked: EvalSettings,
    say: Teller,
    clock: Callable[[], float],
) -> Lists:
    """Ask the first stage for every query.

    Raises:
        SystemFailedError: it failed too often.
    """

    def ask(k: int, depth: int) -> Collected:
        return collect(
            stage,
            data,
            judged,
            k=k,
            depth=depth,
            max_failures=asked.max_failures,
            progress=lambda done, total: say("retrieving", done, total),
            clock=clock,
        )

    notes: list[str] = []
    # Whoever asks an index for more gets the same head; another system may merge other lists.
    shared = isinstance(stage, IndexStage)
    depth = max(asked.depth, k, deepest if shared else 0)
    try:
        base = ask(k, depth)
    except SystemFailedError as exc:
        if k <= deepest:
            raise
        notes.append(f"The baseline orders {deepest} candidates, not {k}: {exc}")
        k, depth = deepest, max(asked.depth, deepest)
        base = ask(k, depth)
    read = base if shared or k == deepest else ask(deepest, deepest)
    depth, shallow = reached_depth(
        list(base.found.values()), k=k, depth=depth, max_failures=asked.max_failures
    )
    notes += [] if shallow is None else [shallow]
    return Lists(base=base, read=read, k=k, depth=depth, notes=tuple(notes))


class Unread:
    """Stands in for a scorer where nothing is read."""

    def __init__(self, info: ScorerInfo) -> None:
        self.info = info

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Nothing is scored."""
        none = np.zeros(len(texts))
        return Scores(
            values=none.astype(np.float32), scale=self.info.scale, scored=none.astype(np.bool_)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How every scorer reads.

    Attributes:
        sample: queries that are timed.
        max_failures: share of the queries on which a scorer may fail.
    """

    sample: Sequence[str]
    lexicon: Collection[str]
    max_failures: float
    tell: Teller
    clock: Callable[[], float]

    def score(self, scorer: Scorer, lists: Collected, k: int, name: str) -> dict[str, Pooled]:
        """Read the first k of every list."""
        return score_pool(
            lists,
            scorer=scorer,
            k=k,
            lexicon=self.lexicon,
            max_failures=self.max_failures,
            progress=lambda done, total: self.tell(f"{name}, K = {k}", done, total),
            clock=self.clock,
        )

    def at_each(
        self, scorer: Scorer, lists: Collected, ks: Sequence[int], name: str
    ) -> Iterator[tuple[int, dict[str, Pooled], bool]]:
        """By rising K: it, what was read, and whether the shorter lists follow from the deepest.

        The queries of `sample` have been read at that very K, and so have their times.
        """
        prepare(scorer, lists, k=ks[-1], tell=self.tell)
        whole = self.score(scorer, lists, ks[-1], name)
        few = Collected(found={q: lists.found[q] for q in self.sample}, k=lists.k)
        for k in ks[:-1]:
            again = self.score(scorer, few, k, name)
            if all(_agrees(whole[q], again[q]) for q in again):
                yield k, {q: again[q] if q in again else _cut(p, k) for q, p in whole.items()}, True
            else:
                yield k, self.score(scorer, lists, k, name), False
        yield ks[-1], whole, True


def timed(queries: Sequence[str]) -> list[str]:
    """About a hundred of them, evenly spread."""
    return list(queries[:: max(1, len(queries) // _TIMED)])


def _cut(pooled: Pooled, k: int) -> Pooled:
    """The pool's query as if only the first k candidates had been read; its time is unknown."""
    scores = Scores(
        values=pooled.scores.values[:k],
        scale=pooled.scores.scale,
        scored=pooled.scores.scored[:k],
        note=pooled.scores.note,
    )
    return replace(pooled, candidates=pooled.candidates[:k], scores=scores)


def _agrees(whole: Pooled, read: Pooled) -> bool:
    """Whether the shorter list got the same scores as in the longer one."""
    n = len(read.candidates)
    if whole.scores.order is not None or read.scores.order is not None:
        return False
    if whole.scorer_error is not None or read.scorer_error is not None:
        return whole.scorer_error == read.scorer_error
    return bool(
        np.array_equal(whole.scored[:n], read.scored)
        and np.allclose(whole.raw[:n], read.raw, atol=_SAME, rtol=_SAME)
    )
