"""Fakes for tests, ours and yours: deterministic scorers without a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rankgate.decide.signals import query_words
from rankgate.errors import InputError
from rankgate.scorers.protocol import Job, ScoreContext, ScorerInfo, Scores, ScoreStats
from rankgate.texts import checked_texts
from rankgate.types import Candidate

__all__ = ["FailingScorer", "FakeScorer", "SlowScorer", "candidates_of", "word_overlap"]

ScoreFunction = Callable[[str, str], float]


def word_overlap(query: str, text: str) -> float:
    """Share of the query's distinct words that the text contains, in [0, 1]."""
    words = set(query_words(query))
    return len(words & set(query_words(text))) / len(words) if words else 0.0


def candidates_of(
    texts: Sequence[str],
    *,
    dense: Sequence[float] | None = None,
    bm25: Sequence[float] | None = None,
) -> list[Candidate]:
    """Candidates `c0`, `c1`, ... in the given order, with scores where they are given."""
    for name, scores in (("dense", dense), ("bm25", bm25)):
        if scores is not None and len(scores) != len(texts):
            raise InputError(f"{len(texts)} texts, but {len(scores)} {name} scores")
    return [
        Candidate(
            id=f"c{i}",
            text=text,
            rank=i + 1,
            dense=None if dense is None else dense[i],
            bm25=None if bm25 is None else bm25[i],
        )
        for i, text in enumerate(texts)
    ]


class FakeScorer:
    """Scores from a table of texts or a function; remembers what it was asked.

    Args:
        scores: text to score (a text that is not in it gets 0), or a function of query and
            text; None: `word_overlap`.

    Attributes:
        jobs: every job it was given, in order.
        calls: how often it was called; a `score_many` is one call.
    """

    def __init__(
        self,
        scores: Mapping[str, float] | ScoreFunction | None = None,
        *,
        info: ScorerInfo | None = None,
    ) -> None:
        if scores is None:
            self._function: ScoreFunction = word_overlap
        elif isinstance(scores, Mapping):
            table = dict(scores)
            self._function = lambda _query, text: table.get(text, 0.0)
        else:
            self._function = scores
        self._info = ScorerInfo(id="fake", scale="fake") if info is None else info
        self.jobs: list[Job] = []
        self.calls = 0

    @property
    def info(self) -> ScorerInfo:
        """Who it claims to be."""
        return self._info

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Scores by the table or function; nothing is read once the deadline has passed."""
        return self.score_many([Job(query=query, texts=texts)], context)[0]

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """`score` for several queries, counted as one call."""
        self.calls += 1
        self.jobs.extend(jobs)
        return [self._one(job, context) for job in jobs]

    def _one(self, job: Job, context: ScoreContext | None) -> Scores:
        checked_texts(job.query, job.texts)
        n = len(job.texts)
        values = np.zeros(n, dtype=np.float32)
        scored = np.zeros(n, dtype=np.bool_)
        for i, text in enumerate(job.texts):
            if context is not None and context.should_stop:
                break
            values[i], scored[i] = self._function(job.query, text), True
        return Scores(
            values=values,
            scale=self._info.scale,
            scored=scored,
            stats=ScoreStats(pairs=int(scored.sum()), windows=int(scored.sum()), calls=1),
        )


class FailingScorer:
    """Raises the given error at each call, or at the first `times` calls only."""

    def __init__(self, error: BaseException, *, times: int | None = None) -> None:
        self.error = error
        self.times = times
        self.calls = 0
        self._healthy = FakeScorer()

    @property
    def info(self) -> ScorerInfo:
        """The same as `FakeScorer`'s."""
        return self._healthy.info

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Raise, or score by word overlap once the failures are used up."""
        self.calls += 1
        if self.times is None or self.calls <= self.times:
            raise self.error
        return self._healthy.score(query, texts, context)


class SlowScorer:
    """Word overlap, `seconds` a text, looking at the clock before each one."""

    def __init__(self, seconds: float, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.seconds = seconds
        self._sleep = sleep
        self._function = word_overlap

    @property
    def info(self) -> ScorerInfo:
        """The same as `FakeScorer`'s."""
        return ScorerInfo(id="fake", scale="fake")

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Score as many texts as the deadline allows."""

        def slowly(q: str, t: str) -> float:
            self._sleep(self.seconds)
            return self._function(q, t)

        return FakeScorer(slowly).score(query, texts, context)
