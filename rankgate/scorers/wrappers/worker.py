"""The thread behind `Batched`: takes what waits, forms batches, hands the results out."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence

from rankgate.deadline import Deadline
from rankgate.errors import BreakerOpenError, ScorerError
from rankgate.scorers.protocol import ScoreContext, Scorer
from rankgate.scorers.steps import score_many
from rankgate.scorers.wrappers.waiting import Piece, WaitingJob

__all__ = ["BatchWorker"]

# The thread ends after so many seconds without work, and starts again with the next entry.
IDLE_S = 5.0


class BatchWorker:
    """A queue of entries and the one thread that serves it, first come, first served.

    Args:
        inner: the scorer; called from the thread only.
        max_tokens: tokens of a batch; a single pair may exceed it.
    """

    _thread: threading.Thread | None
    _running: tuple[list[WaitingJob], ScoreContext] | None

    def __init__(self, inner: Scorer, *, max_tokens: int, max_pairs: int) -> None:
        self._inner = inner
        self._max_tokens = max_tokens
        self._max_pairs = max_pairs
        self._closed = False
        self._begin()

    def enqueue(self, entries: Sequence[WaitingJob]) -> None:
        """Let these wait for their turn.

        Raises:
            ScorerError: closed.
        """
        if self._pid != os.getpid():
            self._begin()
        with self._changed:
            if self._closed:
                raise _closed_error()
            self._queue.extend(t for t in entries if not t.future.done())
            if self._queue and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(
                    target=self._work, name="rankgate-batched", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def waiting(self) -> int:
        """Waiting jobs that are in no batch yet, in whole or in part."""
        with self._changed:
            return len(self._queue)

    def is_ending(self, entry: WaitingJob, *, within: float) -> bool:
        """Whether the batch under way has this entry in it, and its time ends so soon (s)."""
        with self._changed:
            if self._running is None or entry not in self._running[0]:
                return False
            return self._running[1].remaining() <= within

    def abandon(self, entries: Sequence[WaitingJob]) -> None:
        """Their callers no longer wait; a batch for which nobody waits is stopped."""
        for entry in entries:
            entry.abandon()
        with self._changed:
            running = self._running
            if running is not None and all(t.gone for t in running[0]):
                running[1].cancelled.set()

    def close(self, timeout: float | None) -> None:
        """Finish the batch under way, refuse what waits, end the thread."""
        if self._pid != os.getpid():
            self._begin()
        with self._changed:
            self._closed = True
            waiting, thread = list(self._queue), self._thread
            self._queue.clear()
            self._changed.notify_all()
        for entry in waiting:
            entry.fail(_closed_error())
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _begin(self) -> None:
        """A queue of this process's own; after a fork the parent's work is not repeated."""
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._queue: deque[WaitingJob] = deque()
        self._thread = None
        self._running = None

    def _work(self) -> None:
        while True:
            pieces = self._next_batch()
            if pieces is None:
                return
            context = ScoreContext(
                deadline=_latest([p.entry.context for p in pieces]),
                cancelled=_AllGone([p.entry for p in pieces]),
            )
            with self._changed:
                self._running = ([p.entry for p in pieces], context)
            try:
                self._execute(pieces, context)
            except BaseException as exc:  # nobody may wait for a thread that has died
                _fail(pieces, exc)
            finally:
                with self._changed:
                    self._running = None

    def _next_batch(self) -> list[Piece] | None:
        """Wait for work, then for company; None when the thread is to end."""
        with self._changed:
            while True:
                self._drop_finished()
                if self._closed:
                    return None
                if not self._queue:
                    if not self._changed.wait(IDLE_S) and not self._queue:
                        self._thread = None
                        return None
                    continue
                patience = min(t.ready_by for t in self._queue) - time.monotonic()
                if patience > 0 and not self._enough():
                    self._changed.wait(patience)
                    continue
                return self._take()

    def _drop_finished(self) -> None:
        """Take out what needs no more work; the caller holds the lock."""
        finished = [t for t in self._queue if t.over]
        if finished:
            gone = set(map(id, finished))
            self._queue = deque(t for t in self._queue if id(t) not in gone)
            for entry in finished:
                entry.stop()

    def _enough(self) -> bool:
        return (
            sum(t.pairs_left for t in self._queue) >= self._max_pairs
            or sum(t.tokens_left for t in self._queue) >= self._max_tokens
        )

    def _take(self) -> list[Piece]:
        """The next batch; the caller holds the lock, and the queue is not empty."""
        pieces: list[Piece] = []
        pairs, tokens = self._max_pairs, self._max_tokens
        for _ in range(len(self._queue)):
            entry = self._queue[0]
            before = entry.tokens_left
            piece = entry.take(pairs, tokens, at_least_one=not pieces)
            if piece is None:
                break
            pieces.append(piece)
            pairs -= piece.stop - piece.start
            tokens -= before - entry.tokens_left
            self._queue.popleft()
            if entry.pairs_left:
                # The batch is full; the rest goes behind everybody who waits.
                self._queue.append(entry)
                break
        return pieces

    def _execute(self, pieces: Sequence[Piece], context: ScoreContext) -> None:
        try:
            answers = score_many(self._inner, [p.job for p in pieces], context)
        except Exception as exc:  # belongs to one of them, or to all: repeating tells
            if len(pieces) == 1 or isinstance(exc, BreakerOpenError):
                _fail(pieces, exc)
                return
            for piece in pieces:
                self._alone(piece)
        else:
            for piece, scores in zip(pieces, answers, strict=True):
                piece.entry.add(piece, scores)

    def _alone(self, piece: Piece) -> None:
        """Repeat one job of a batch that failed, with its caller's own context."""
        entry = piece.entry
        if entry.over:
            entry.stop()
            return
        try:
            (scores,) = score_many(self._inner, [piece.job], entry.context)
        except BaseException as exc:  # whatever it is, it belongs to this caller
            entry.fail(exc)
        else:
            entry.add(piece, scores)


class _AllGone(threading.Event):
    """Set, too, once every caller has left or been cancelled: a batch ends for nobody else."""

    def __init__(self, entries: Sequence[WaitingJob]) -> None:
        super().__init__()
        self._entries = entries

    def is_set(self) -> bool:
        return super().is_set() or all(
            t.gone or t.context.cancelled.is_set() for t in self._entries
        )


def _fail(pieces: Sequence[Piece], error: BaseException) -> None:
    for piece in pieces:
        piece.entry.fail(error)


def _closed_error() -> ScorerError:
    return ScorerError("this Batched scorer is closed; make a new one to go on scoring")


def _latest(contexts: Sequence[ScoreContext]) -> Deadline | None:
    """The deadline that leaves most time; None as soon as one caller has none."""
    latest: Deadline | None = None
    for context in contexts:
        if context.deadline is None:
            return None
        if latest is None or context.deadline.remaining() > latest.remaining():
            latest = context.deadline
    return latest
