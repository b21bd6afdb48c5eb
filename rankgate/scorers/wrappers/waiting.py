"""A query that waits to be scored together with others, in one piece or in several."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass

import numpy as np

from rankgate.errors import BadScoresError, ScorerError
from rankgate.scorers.protocol import Job, ScoreContext, Scores, ScoreStats

__all__ = ["Piece", "WaitingJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Texts `start` to `stop` of an entry, as a job of their own."""

    entry: WaitingJob
    start: int
    stop: int

    @property
    def job(self) -> Job:
        """What is handed to the scorer."""
        job = self.entry.job
        if self.stop - self.start == len(job.texts):
            return job
        return Job(query=job.query, texts=job.texts[self.start : self.stop])


class WaitingJob:
    """One job on its way through the batches; its result stands in `future`.

    Args:
        job: at least one text.
        costs: tokens of each pair.
        scale: for a result of which nothing was read.
        divisible: whether the job may be scored in pieces.
        ready_by: seconds of the monotonic clock until which it waits for company.

    Attributes:
        gone: the caller no longer waits.
    """

    def __init__(
        self,
        job: Job,
        context: ScoreContext,
        *,
        costs: Sequence[int],
        scale: str,
        divisible: bool,
        ready_by: float,
    ) -> None:
        self.job = job
        self.context = context
        self.ready_by = ready_by
        self.gone = False
        self.future: Future[Scores] = Future()
        self._costs = costs
        self._scale = scale
        self._divisible = divisible
        self._next = 0
        self._left = sum(costs)
        self._lock = threading.Lock()
        self._parts: list[tuple[Piece, Scores]] = []

    @property
    def pairs_left(self) -> int:
        """Texts that no piece has taken yet."""
        return len(self._costs) - self._next

    @property
    def tokens_left(self) -> int:
        """Their tokens."""
        return self._left

    @property
    def over(self) -> bool:
        """Whether nothing more should be done for it."""
        return self.gone or self.future.done() or self.context.should_stop

    def take(self, pairs: int, tokens: int, *, at_least_one: bool) -> Piece | None:
        """The next piece within these limits, or None where not even one text fits.

        Args:
            at_least_one: take something even if it is too large, since nothing smaller exists.
        """
        start, stop, cost = self._next, self._next, 0
        if not self._divisible:
            if not at_least_one and (self.pairs_left > pairs or self._left > tokens):
                return None
            stop, cost = len(self._costs), self._left
        else:
            while stop < len(self._costs):
                more = self._costs[stop]
                fits = stop - start < pairs and cost + more <= tokens
                if not fits and not (at_least_one and stop == start):
                    break
                stop, cost = stop + 1, cost + more
        if stop == start:
            return None
        self._next, self._left = stop, self._left - cost
        return Piece(entry=self, start=start, stop=stop)

    def add(self, piece: Piece, scores: Scores) -> None:
        """Note the scores of a piece; the last one completes the entry."""
        with self._lock:
            self._parts.append((piece, scores))
            complete = sum(p.stop - p.start for p, _ in self._parts) == len(self._costs)
        if complete:
            try:
                self._finish(self._merged())
            except BadScoresError as exc:
                self.fail(exc)

    def fail(self, error: BaseException) -> None:
        """Hand an error to the caller, unless it has its result or is gone."""
        if isinstance(error, StopIteration):  # no Future can carry it
            error = ScorerError("the scorer raised StopIteration")
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def stop(self) -> None:
        """Complete the entry with what was read so far."""
        self._finish(self.so_far())

    def abandon(self) -> None:
        """The caller no longer waits."""
        self.gone = True
        self.future.cancel()

    def so_far(self) -> Scores:
        """What was read until now; all other texts have `scored` False."""
        try:
            return self._merged()
        except BadScoresError:
            return self._blank()

    def _finish(self, scores: Scores) -> None:
        # The caller may give up at any instant, and then nobody wants the result.
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(scores)

    def _blank(self) -> Scores:
        n = len(self._costs)
        return Scores(
            values=np.zeros(n, dtype=np.float32),
            scale=self._scale,
            scored=np.zeros(n, dtype=np.bool_),
        )

    def _merged(self) -> Scores:
        with self._lock:
            parts = list(self._parts)
        if not parts:
            return self._blank()
        n = len(self._costs)
        first = parts[0][1]
        if len(parts) == 1 and first.values.size == n:
            return first
        values = np.zeros(n, dtype=np.float32)
        scored = np.zeros(n, dtype=np.bool_)
        stats, note = ScoreStats(), ""
        for piece, scores in parts:
            if scores.order is not None or scores.scale != first.scale:
                raise BadScoresError(
                    "the scorer ordered a part of a list, or changed its scale between two parts: "
                    "it is a stage. Give it an attribute pointwise = False, so that lists are "
                    "not divided."
                )
            values[piece.start : piece.stop] = scores.values
            scored[piece.start : piece.stop] = scores.scored
            stats, note = stats + scores.stats, note or scores.note
        return Scores(values=values, scale=first.scale, scored=scored, stats=stats, note=note)
