"""Runs scorers and the wrappers around them, blocking or async, from one implementation.

A wrapper is written once, as a generator that yields `Call`s (and `Slow` work of its own) and
receives their results;
`run` answers them by blocking, `arun` by awaiting. (So no wrapper is written twice.)
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rankgate.errors import BadScoresError, ScorerError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, Scores, check_scores

__all__ = [
    "Call",
    "Slow",
    "Stepped",
    "Steps",
    "adrive",
    "arun",
    "ascore_many",
    "drive",
    "run",
    "score_many",
]

T = TypeVar("T")
Act = TypeVar("Act")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request of a wrapper: score these jobs with that scorer."""

    scorer: Scorer
    jobs: Sequence[Job]
    context: ScoreContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """A request of a wrapper: work of its own that an event loop should not wait for."""

    work: Callable[[], Any]


Steps = Generator[Call | Slow, Any, T]


def _checked(results: Any, jobs: Sequence[Job]) -> list[Scores]:
    if len(results) != len(jobs):
        raise BadScoresError(f"{len(jobs)} queries were handed over, {len(results)} answered")
    return [check_scores(s, len(job.texts)) for s, job in zip(results, jobs, strict=True)]


def score_many(scorer: Scorer, jobs: Sequence[Job], context: ScoreContext) -> list[Scores]:
    """Score several queries, in one call where the scorer can; checked results, in order.

    Raises:
        BadScoresError: what came back cannot be used.
        Exception: whatever the scorer raises.
    """
    many = getattr(scorer, "score_many", None)
    if many is not None:
        return _checked(many(jobs, context), jobs)
    return _checked([scorer.score(j.query, j.texts, context) for j in jobs], jobs)


def _in_thread(scorer: Scorer, jobs: Sequence[Job], context: ScoreContext) -> list[Scores]:
    try:
        return score_many(scorer, jobs, context)
    except StopIteration as exc:  # no Future can carry it: the caller would wait for ever
        raise ScorerError("the scorer raised StopIteration") from exc


async def ascore_many(scorer: Scorer, jobs: Sequence[Job], context: ScoreContext) -> list[Scores]:
    """`score_many` without blocking the event loop.

    A scorer without async methods runs in a worker thread. When the caller is cancelled,
    `context.cancelled` is set, so that the thread stops at its next chunk.
    """
    many = getattr(scorer, "ascore_many", None)
    if many is not None:
        return _checked(await many(jobs, context), jobs)
    one = getattr(scorer, "ascore", None)
    if one is not None and inspect.iscoroutinefunction(one):
        return _checked([await one(j.query, j.texts, context) for j in jobs], jobs)
    try:
        return await asyncio.to_thread(_in_thread, scorer, jobs, context)
    except asyncio.CancelledError:
        context.cancelled.set()
        raise


def drive(steps: Generator[Act, Any, T], do: Callable[[Act], Any]) -> T:
    """Run a generator to its end: whatever it yields is done, and it receives the result.

    An error while doing is thrown into the generator, whose business it is.
    """
    step, value = steps.send, None
    try:
        while True:
            act = step(value)
            try:
                step, value = steps.send, do(act)
            except Exception as exc:
                step, value = steps.throw, exc
            except BaseException:
                steps.close()
                raise
    except StopIteration as stop:
        result: T = stop.value
        return result


async def adrive(steps: Generator[Act, Any, T], do: Callable[[Act], Awaitable[Any]]) -> T:
    """`drive` without blocking the event loop."""
    step, value = steps.send, None
    try:
        while True:
            act = step(value)
            try:
                step, value = steps.send, await do(act)
            except Exception as exc:
                step, value = steps.throw, exc
            except BaseException:
                steps.close()
                raise
    except StopIteration as stop:
        result: T = stop.value
        return result


def run(steps: Steps[T]) -> T:
    """Drive a wrapper's steps to their end, blocking."""

    def do(act: Call | Slow) -> Any:
        if isinstance(act, Slow):
            return act.work()
        return score_many(act.scorer, act.jobs, act.context)

    return drive(steps, do)


async def arun(steps: Steps[T]) -> T:
    """Drive a wrapper's steps to their end, awaiting each call."""

    async def do(act: Call | Slow) -> Any:
        if isinstance(act, Slow):
            return await asyncio.to_thread(act.work)
        return await ascore_many(act.scorer, act.jobs, act.context)

    return await adrive(steps, do)


class Stepped:
    """Gives `score`, `score_many` and their async twins to a class that has `steps`."""

    def steps(self, jobs: Sequence[Job], context: ScoreContext) -> Steps[list[Scores]]:
        """Yield calls, receive their results, return one `Scores` a job."""
        raise NotImplementedError

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Score the texts for one query."""
        return self.score_many([Job(query=query, texts=texts)], context)[0]

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """Score several queries."""
        return run(self.steps(jobs, ScoreContext() if context is None else context))

    async def ascore(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Score the texts for one query without blocking."""
        return (await self.ascore_many([Job(query=query, texts=texts)], context))[0]

    async def ascore_many(
        self, jobs: Sequence[Job], context: ScoreContext | None = None
    ) -> list[Scores]:
        """Score several queries without blocking."""
        return await arun(self.steps(jobs, ScoreContext() if context is None else context))
