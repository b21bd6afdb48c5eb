"""Batched: queries that come at the same time share one call of the scorer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

from rankgate.errors import ConfigError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, Scores
from rankgate.scorers.wrappers.traits import Around, is_pointwise
from rankgate.scorers.wrappers.waiting import WaitingJob
from rankgate.scorers.wrappers.worker import BatchWorker
from rankgate.texts import checked_texts

__all__ = ["Batched"]

# Work in chunks ends a little after the deadline; what it read until then is worth that long.
_GRACE = 0.05
_LOOK = 0.05


def _estimated_tokens(text: str) -> int:
    return len(text) // 4 + 1


class Batched(Around):
    """Micro-batches concurrent queries, from threads and from event loops, into one call.

    One worker thread, started with the first query and ended when idle or closed, takes what
    waits: first come, first served. A query waits for company at most `max_wait_ms`, and never
    longer than a quarter of its remaining time. Scores are the same as without batching.

    Fairness: a job larger than a batch is read in several, and goes to the back of the queue
    after each one. (Around a stage, whose lists cannot be divided, it is read whole.)

    Isolation: a batch that fails is repeated job by job, so that an error reaches only the
    caller it belongs to; a caller that is cancelled leaves its batch-mates alone, and a batch
    is stopped only when all of its callers have gone. With an open breaker inside nothing is
    repeated.

    Deadlines: a batch runs under the latest deadline of its jobs, so that a hurried caller does
    not cut the others short. Each caller stops waiting at its own (plus 50 ms where the batch
    ends with it, for the chunk under way), and gets what was read so far, the rest with
    `scored` False.

    Args:
        inner: the scorer; called from the worker thread only.
        max_tokens: tokens of a batch, query and text of each pair; a single pair may exceed it.
        max_wait_ms: how long a query waits for company; 0: not at all.
        count: tokens of a text; None: a quarter of its characters.

    Raises:
        ConfigError: a limit that cannot be.
    """

    def __init__(
        self,
        inner: Scorer,
        *,
        max_tokens: int = 16_384,
        max_pairs: int = 256,
        max_wait_ms: float = 2.0,
        count: Callable[[str], int] | None = None,
    ) -> None:
        if max_tokens < 1 or max_pairs < 1:
            raise ConfigError(
                f"max_tokens and max_pairs must be at least 1, got {max_tokens} and {max_pairs}"
            )
        if not 0.0 <= max_wait_ms < math.inf:
            raise ConfigError(f"max_wait_ms must be 0 or more and finite, got {max_wait_ms}")
        self.inner = inner
        self.max_tokens = max_tokens
        self.max_pairs = max_pairs
        self.max_wait_ms = max_wait_ms
        self._given_count = count
        self._count = _estimated_tokens if count is None else count
        self._worker = BatchWorker(inner, max_tokens=max_tokens, max_pairs=max_pairs)

    @property
    def waiting(self) -> int:
        """Queries that wait for a batch at the moment."""
        return self._worker.waiting()

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """Score several queries, together with whatever else is waiting.

        Raises:
            InputError: query or texts are not strings.
            ScorerError: closed.
            Exception: whatever the inner scorer raises for a query.
        """
        entries = self._entries(jobs, ScoreContext() if context is None else context)
        self._worker.enqueue(entries)
        try:
            for entry in entries:
                _wait(entry)
                if not entry.future.done() and self._worker.is_ending(entry, within=_GRACE):
                    concurrent.futures.wait([entry.future], timeout=_GRACE)
            return [t.future.result() if t.future.done() else t.so_far() for t in entries]
        finally:
            self._worker.abandon(entries)

    async def ascore_many(
        self, jobs: Sequence[Job], context: ScoreContext | None = None
    ) -> list[Scores]:
        """`score_many` without blocking the event loop."""
        ctx = ScoreContext() if context is None else context
        if self._given_count is None:
            entries = self._entries(jobs, ctx)
        else:  # somebody's tokenizer may take its time
            entries = await asyncio.to_thread(self._entries, jobs, ctx)
        self._worker.enqueue(entries)
        waiting = [asyncio.wrap_future(t.future) for t in entries]
        try:
            for entry, future in zip(entries, waiting, strict=True):
                await asyncio.wait([future], timeout=_patience(entry))
                if not future.done() and self._worker.is_ending(entry, within=_GRACE):
                    await asyncio.wait([future], timeout=_GRACE)
            return [
                f.result() if f.done() else t.so_far()
                for t, f in zip(entries, waiting, strict=True)
            ]
        finally:
            for future in waiting:
                # Retrieved, or asyncio complains about errors that nobody waits for any more.
                if not future.cancel() and not future.cancelled():
                    future.exception()
            self._worker.abandon(entries)

    def close(self, timeout: float | None = None) -> None:
        """Finish the batch under way, refuse what waits, end the worker; twice does nothing.

        Args:
            timeout: seconds to wait for the batch under way; None: as long as it takes.
        """
        self._worker.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        settings: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "max_pairs": self.max_pairs,
            "max_wait_ms": self.max_wait_ms,
            "count": self._given_count,
        }
        return (partial(type(self), **settings), (self.inner,))

    def _entries(self, jobs: Sequence[Job], context: ScoreContext) -> list[WaitingJob]:
        scale, divisible = self.inner.info.scale, is_pointwise(self.inner)
        now, remaining = time.monotonic(), context.remaining()
        ready_by = now + min(self.max_wait_ms / 1000.0, remaining / 4.0)
        entries = []
        for job in jobs:
            checked_texts(job.query, job.texts)
            asked = self._count(job.query)
            # A copy of the list: the caller may change its own while this one waits.
            own = Job(query=job.query, texts=tuple(job.texts))
            costs = [asked + self._count(text) for text in own.texts]
            entry = WaitingJob(
                own, context, costs=costs, scale=scale, divisible=divisible, ready_by=ready_by
            )
            if not costs:
                entry.stop()
            entries.append(entry)
        return entries


def _patience(entry: WaitingJob) -> float | None:
    remaining = entry.context.remaining()
    return None if math.isinf(remaining) else remaining


def _wait(entry: WaitingJob) -> None:
    """Until it is done, its time is over, or its caller has been cancelled from outside."""
    until = time.monotonic() + entry.context.remaining()
    cancelled = entry.context.cancelled
    # Nothing tells of all three, so that the thread has to look up now and then.
    while not entry.future.done() and not cancelled.is_set() and (now := time.monotonic()) < until:
        concurrent.futures.wait([entry.future], timeout=min(_LOOK, until - now))
