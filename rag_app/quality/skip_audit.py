"""What skipping the second stage costs, measured while the server runs.

Of the questions that the gate skipped, a share is reranked after all, in the background, once the
answer is out. What is kept is whether that would have changed anything; never a word of question
or passage. The judge is the reranker's own relevance model, not a person: it tells what the gate
gave away, as far as the second stage knows better.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_app.quality.measurements import opened
from rankgate import Reranker
from rankgate.bounds import clopper_pearson
from rankgate.decide.fidelity import Handed, skipping_changes
from rankgate.decide.gate import Action
from rankgate.outcome import Outcome
from rankgate.types import Path as Way

if TYPE_CHECKING:
    from rag_app.ask.pipeline import Pipeline

logger = logging.getLogger("rankgate.server")

_VERSION = 1
_WAITING = 8
_PATIENCE_S = 30.0
_LOOK_S = 0.05
_IDLE_S = 0.25
_LATEST = 5000
_NICE = 10
# From here on a passage is more likely relevant than not.
_RELEVANT = 0.5
_SCHEMA = """
CREATE TABLE IF NOT EXISTS shadow (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, collection TEXT NOT NULL, policy TEXT NOT NULL,
    top1_changed INTEGER NOT NULL, set_changed INTEGER NOT NULL, answer_changed INTEGER NOT NULL,
    harmed INTEGER, lost REAL
);
"""
_COLUMNS = "top1_changed, set_changed, answer_changed, harmed, lost"
# Later than the table; NULL in rows that are older. `drawn`: the chance that the row had of being
# looked at. `promised`: what the policy's calibration guarantees of `changed`; NULL: nothing.
_ADDED = {"changed": "INTEGER", "drawn": "REAL", "promised": "REAL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One skipped question, reranked after all.

    Attributes:
        top1_changed: another passage would have been first.
        set_changed: other passages would have been kept; the order does not matter.
        answer_changed: one of the two ways refuses the question, the other does not.
        harmed: a passage that the relevance model holds for relevant (0.5 or more) would have
            been among the first `top_n` and was not; None where no model applies.
        lost: relevant passages missed, expected: the sum of the probabilities that reranking's
            first `top_n` have, less that of those shown; >= 0. None as above.
        changed: whether a calibration without labels calls it changed; see
            `rankgate.decide.fidelity`.
    """

    top1_changed: bool
    set_changed: bool
    answer_changed: bool
    harmed: bool | None
    lost: float | None
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSummary:
    """What is known of one policy's skipped questions, the latest 5,000 of them.

    Attributes:
        policy: that was in force last; None before the first question.
        rate: share of skipped questions that are looked at.
        top1_changed, set_changed, answer_changed: how many of them; see `AuditRow`.
        judged: those to which a relevance model applied.
        harm: its share; None where nothing was judged.
        low, high: exact 95% interval of that share (Clopper and Pearson 1934,
            doi:10.1093/biomet/26.4.404).
        lost: mean of `AuditRow.lost`; None as `harm`.
        changed: share of the skipped questions for which skipping changed what is handed over, each
            question looked at counting for as many as the share drawn stood for; None: none yet.
        changed_low, changed_high: its 95% interval, exact where the share drawn never changed.
        promised: that the calibration guarantees to be the most; None where it does not say.
        dropped: chosen since the start, but the server was busy.
        failed: chosen since the start, but reranking failed.
    """

    policy: str | None
    rate: float
    n: int
    top1_changed: int
    set_changed: int
    answer_changed: int
    judged: int
    harmed: int
    harm: float | None
    low: float
    high: float
    lost: float | None
    changed: float | None
    changed_low: float
    changed_high: float
    promised: float | None
    dropped: int
    failed: int

    @property
    def broken(self) -> bool:
        """Whether more is changed than was promised, beyond chance."""
        return self.promised is not None and self.changed_low > self.promised

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    reranker: Reranker
    collection: str
    outcome: Outcome
    until: float
    drawn: float


class SkipAudit:
    """Reranks some skipped questions in the background. Thread-safe.

    One thread, at low priority, that waits while questions are being answered; what waits too
    long, or finds the queue full, is dropped and counted.

    Args:
        folder: the data folder; `skip_audit.sqlite` is written there.
        rate: share of the skipped questions, in [0, 1]; 0 starts no thread.
        busy: whether somebody waits for an answer at the moment.
        draw: gives uniform numbers in [0, 1).
        patience_s: seconds that one may wait.

    Raises:
        StoreError: the file cannot be used, or another version wrote it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rate: float,
        busy: Callable[[], bool] = lambda: False,
        draw: Callable[[], float] = random.random,
        waiting: int = _WAITING,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.path = folder / "skip_audit.sqlite"
        self.rate = rate
        self._busy, self._draw, self._patience_s = busy, draw, patience_s
        self._lock = threading.Lock()
        self._dropped = self._failed = 0
        self._queue: queue.Queue[_Job] = queue.Queue(waiting)
        self._stop = threading.Event()
        _take_over(folder / "shadow.sqlite", self.path)
        self._db = opened(self.path, version=_VERSION, schema=_SCHEMA)
        there = {row[1] for row in self._db.execute("PRAGMA table_info(shadow)")}
        for column in _ADDED.keys() - there:
            self._db.execute(f"ALTER TABLE shadow ADD COLUMN {column} {_ADDED[column]}")
        self._thread = threading.Thread(target=self._work, name="rankgate-skip-audit", daemon=True)
        if rate > 0:
            self._thread.start()

    def close(self) -> None:
        """Let the question at hand finish, forget those that wait, let go of the file."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._db.close()

    def offer(self, pipeline: Pipeline, outcome: Outcome) -> bool:
        """Perhaps take a question; returns at once. Whether it was taken."""
        if self._stop.is_set() or outcome.path is not Way.SKIPPED or not outcome.passages:
            return False
        # Drawn for every skipped question, so that busy hours are not left out by the draw.
        if self._draw() >= self.rate:
            return False
        job = _Job(
            reranker=pipeline.reranker,
            collection=pipeline.settings.collection,
            outcome=outcome,
            until=time.monotonic() + self._patience_s,
            drawn=self.rate,
        )
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            self._count(dropped=1)
            return False
        return True

    def drain(self) -> None:
        """Wait until everything that was taken is done; for tests and shutdown scripts."""
        self._queue.join()

    def summary(self) -> AuditSummary:
        """Everything known of the policy that was in force last."""
        with self._lock:
            last = self._db.execute("SELECT policy FROM shadow ORDER BY id DESC LIMIT 1").fetchone()
            policy = None if last is None else str(last[0])
            rows = self._db.execute(
                f"SELECT {_COLUMNS}, {', '.join(_ADDED)} FROM shadow WHERE policy = ? "
                "ORDER BY id DESC LIMIT ?",
                (policy, _LATEST),
            ).fetchall()
            dropped, failed = self._dropped, self._failed
        judged = [r for r in rows if r[3] is not None]
        harmed = sum(r[3] for r in judged)
        low, high = clopper_pearson(harmed, len(judged))
        weighed = [(1.0 / r[6], r[5]) for r in rows if r[6]]
        total = math.fsum(w for w, _ in weighed)
        # Equal weights count whole; of others Kish's number (Survey Sampling, 1965).
        effective = total**2 / math.fsum(w * w for w, _ in weighed) if weighed else 0.0
        changed = math.fsum(w for w, c in weighed if c) / total if weighed else None
        span = clopper_pearson(min((changed or 0.0) * effective, effective), effective)
        return AuditSummary(
            policy=policy,
            rate=self.rate,
            n=len(rows),
            top1_changed=sum(r[0] for r in rows),
            set_changed=sum(r[1] for r in rows),
            answer_changed=sum(r[2] for r in rows),
            judged=len(judged),
            harmed=harmed,
            harm=harmed / len(judged) if judged else None,
            low=low,
            high=high,
            lost=sum(r[4] for r in judged) / len(judged) if judged else None,
            changed=changed,
            changed_low=span[0],
            changed_high=span[1],
            promised=rows[0][7] if rows else None,
            dropped=dropped,
            failed=failed,
        )

    def _work(self) -> None:
        # Of this thread alone; elsewhere than on Linux the system decides.
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._stop.is_set():
            try:
                job = self._queue.get(timeout=_IDLE_S)
            except queue.Empty:
                continue
            try:
                self._one(job)
            except Exception:
                # Nobody waits for it: an error here must never become one of the server.
                logger.warning("a skipped question could not be reranked", exc_info=True)
                self._count(failed=1)
            finally:
                self._queue.task_done()
        while True:  # what waits is forgotten, and whoever drains is let go
            try:
                self._queue.get_nowait()
            except queue.Empty:
                return
            self._queue.task_done()

    def _one(self, job: _Job) -> None:
        while self._busy():
            if time.monotonic() >= job.until or self._stop.wait(_LOOK_S):
                self._count(dropped=1)
                return
        skipped = job.outcome
        candidates = sorted((p.candidate for p in skipped.passages), key=lambda c: c.rank)
        reranked = job.reranker.rerank(
            skipped.query, candidates, skipped.top_n, force=Action.RERANK
        )
        if reranked.path is not Way.RERANKED:
            self._count(failed=1)
            return
        row = compared(skipped, reranked)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock, self._db:
            self._db.execute(
                f"INSERT INTO shadow (time, collection, policy, {_COLUMNS}, {', '.join(_ADDED)}) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    now,
                    job.collection,
                    skipped.policy,
                    row.top1_changed,
                    row.set_changed,
                    row.answer_changed,
                    row.harmed,
                    row.lost,
                    row.changed,
                    job.drawn,
                    _promised(job),
                ),
            )

    def _count(self, *, dropped: int = 0, failed: int = 0) -> None:
        with self._lock:
            self._dropped += dropped
            self._failed += failed


def compared(skipped: Outcome, reranked: Outcome) -> AuditRow:
    """What reranking would have changed; both are of the same candidates.

    The floor is left out of the comparison of passages: it is a matter of its own.
    """
    n = skipped.top_n
    shown = [p.candidate.id for p in skipped.passages[:n]]
    better = reranked.passages[:n]
    found = [p.candidate.id for p in better]
    known = {p.candidate.id: p.relevance_score for p in reranked.passages}
    harmed, lost = None, None
    if all(known[i] is not None for i in {*shown, *found}):
        missed = [p for p in better if p.candidate.id not in set(shown)]
        harmed = any((known[p.candidate.id] or 0.0) >= _RELEVANT for p in missed)
        lost = max(0.0, sum(known[i] or 0.0 for i in found) - sum(known[i] or 0.0 for i in shown))
    return AuditRow(
        top1_changed=shown[:1] != found[:1],
        set_changed=set(shown) != set(found),
        answer_changed=skipped.refused != reranked.refused,
        harmed=harmed,
        lost=lost,
        changed=skipping_changes(_handed(reranked), _handed(skipped)),
    )


def _handed(outcome: Outcome) -> Handed:
    first = outcome.passages[: outcome.top_n]
    return Handed(
        ids=[p.candidate.id for p in first],
        probabilities=[p.relevance_score for p in first],
        refused=outcome.refused,
    )


def _promised(job: _Job) -> float | None:
    """What the calibration guarantees of the skipped questions."""
    gate = job.reranker.policy.section(job.outcome.first_stage).gate
    claims = gate.provenance.get("fidelity", {}).get("claims", ())
    return float(claims[0]["allowed"]) if claims else None


def _take_over(old: Path, new: Path) -> None:
    """What was measured while the file had another name."""
    if old.exists() and not new.exists():
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                old.with_name(old.name + end).rename(new.with_name(new.name + end))
