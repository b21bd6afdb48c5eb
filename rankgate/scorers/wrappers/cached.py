"""Cached: a pair that was scored before is not scored again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rankgate.scorers.protocol import Job, ScoreContext, Scorer, Scores, ScoreStats
from rankgate.scorers.steps import Call, Slow, Steps
from rankgate.scorers.wrappers.disk import ScoreDisk
from rankgate.scorers.wrappers.key import score_keys
from rankgate.scorers.wrappers.memory import ScoreMemory
from rankgate.scorers.wrappers.traits import Around, is_pointwise
from rankgate.texts import checked_texts

__all__ = ["Cached"]

logger = logging.getLogger("rankgate")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lookup:
    """A job before it is scored.

    Attributes:
        keys: one a text; equal texts share theirs.
        missing: position of the first text of each key that they do not.
    """

    job: Job
    keys: list[bytes]
    known: dict[bytes, float]
    missing: dict[bytes, int]

    @property
    def rest(self) -> Job:
        """What is left to score; each different text once."""
        texts = [self.job.texts[i] for i in self.missing.values()]
        return Job(query=self.job.query, texts=texts)


class Cached(Around):
    """Remembers scores by everything that they depend on: see `rankgate.scorers.wrappers.key`.

    What is missing goes to the inner scorer in one call, each different text of a query once.
    Failures and texts that were not read in time are never remembered. `ScoreStats.cached`
    counts the texts answered from here, `pairs` all that have a score.

    A stage, such as `Cascade`, reads a part of each list, and which part depends on the whole of
    it; around one, everything is passed through and nothing remembered. Put the cache inside:
    `Cascade(fast, Cached(accurate), keep=10)`.

    Args:
        inner: the scorer; its scores of one pair must not change while its `info` does not.
        max_bytes: room in memory, about 220 bytes a score.
        disk: folder, or an open `diskcache.Cache`; None: memory only. A damaged disk cache costs
            a log line and the time for scoring, never the request.

    Raises:
        ConfigError: `max_bytes` is negative.
        MissingExtraError: a disk is wanted and diskcache is not installed.
    """

    def __init__(
        self,
        inner: Scorer,
        *,
        max_bytes: int = 64 * 2**20,
        disk: str | Path | Any | None = None,
    ) -> None:
        self.inner = inner
        self.memory = ScoreMemory(max_bytes)
        self.disk = None if disk is None else ScoreDisk(disk)
        if not is_pointwise(inner):
            logger.info("nothing of %s is cached: it reads parts of a list", inner.info.id)

    def steps(self, jobs: Sequence[Job], context: ScoreContext) -> Steps[list[Scores]]:
        """Look up, score what is missing in one call, remember."""
        if self.pointwise:
            # A disk is a file to wait for; memory is not.
            slow = self.disk is not None
            look_up = partial(self._look_up, jobs)
            lookups: list[_Lookup] = (yield Slow(work=look_up)) if slow else look_up()
            rest = [one.rest for one in lookups if one.missing]
            answers: list[Scores] = []
            if rest:
                answers = yield Call(scorer=self.inner, jobs=rest, context=context)
            if self._usable(answers):
                fill = partial(self._filled, lookups, answers)
                filled: list[Scores] = (yield Slow(work=fill)) if slow else fill()
                return filled
        everything: list[Scores] = yield Call(scorer=self.inner, jobs=jobs, context=context)
        return everything

    def clear(self) -> None:
        """Forget what is in memory; the disk keeps what it has."""
        self.memory.clear()

    def close(self) -> None:
        """Close the disk cache's files, if this object opened them."""
        if self.disk is not None:
            self.disk.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuilt, (self.inner, self.memory.max_bytes, self.disk))

    def _look_up(self, jobs: Sequence[Job]) -> list[_Lookup]:
        info = self.inner.info
        for job in jobs:
            checked_texts(job.query, job.texts)  # or a string would be taken for its characters
        return [self._look_up_job(job, score_keys(info, job.query, job.texts)) for job in jobs]

    def _look_up_job(self, job: Job, keys: list[bytes]) -> _Lookup:
        distinct = list(dict.fromkeys(keys))
        known = self.memory.get_many(distinct)
        if self.disk is not None and len(known) < len(distinct):
            older = self.disk.get_many([k for k in distinct if k not in known])
            self.memory.put_many(older)
            known |= older
        missing: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            if key not in known:
                missing.setdefault(key, i)
        return _Lookup(job=job, keys=keys, known=known, missing=missing)

    def _usable(self, answers: Sequence[Scores]) -> bool:
        """Whether these can stand beside remembered scores: same scale, nothing fallen back.

        Otherwise the inner scorer is a stage that does not say so, and is asked for everything.
        """
        scale = self.inner.info.scale
        return all(s.scale == scale and s.order is None and not s.note for s in answers)

    def _filled(self, lookups: Sequence[_Lookup], answers: Sequence[Scores]) -> list[Scores]:
        fresh: dict[bytes, float] = {}
        results = []
        remaining = iter(answers)
        for lookup in lookups:
            values, stats = dict(lookup.known), ScoreStats()
            if lookup.missing:
                answer = next(remaining)
                read = {
                    key: float(value)
                    for key, value, ok in zip(
                        lookup.missing, answer.values, answer.scored, strict=True
                    )
                    if ok
                }
                fresh |= read
                values |= read
                stats = answer.stats
            results.append(self._scores(lookup, values, stats))
        self.memory.put_many(fresh)
        if self.disk is not None:
            self.disk.put_many(fresh)
        return results

    def _scores(self, lookup: _Lookup, values: dict[bytes, float], stats: ScoreStats) -> Scores:
        scored = np.array([key in values for key in lookup.keys], dtype=np.bool_)
        hits = sum(key in lookup.known for key in lookup.keys)
        return Scores(
            values=np.array([values.get(key, 0.0) for key in lookup.keys], dtype=np.float32),
            scale=self.inner.info.scale,
            scored=scored,
            stats=replace(stats, pairs=int(scored.sum()), cached=stats.cached + hits),
        )


def _rebuilt(inner: Scorer, max_bytes: int, disk: ScoreDisk | None) -> Cached:
    cached = Cached(inner, max_bytes=max_bytes)
    cached.disk = disk
    return cached
