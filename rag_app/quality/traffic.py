"""How often questions are skipped and refused, day by day and policy by policy, on disk.

Counts alone: no word of a question, and nothing of who asked. With them stands what the policy's
calibration promised, so that a week can be compared with it when the policy file is gone.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from rag_app.quality.measurements import opened
from rankgate import Policy
from rankgate.live.drift import Day, Week, weeks_of
from rankgate.live.promise import Counted, Expected, Promise, promise_of
from rankgate.outcome import Outcome
from rankgate.types import Path as Way

logger = logging.getLogger("rankgate.server")

TRAFFIC_FILE = "traffic.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS policy (
    mark TEXT PRIMARY KEY, name TEXT NOT NULL, promise TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS day (
    day TEXT NOT NULL, collection TEXT NOT NULL, mark TEXT NOT NULL, last TEXT NOT NULL,
    n INTEGER NOT NULL, skipped INTEGER NOT NULL, refused INTEGER NOT NULL,
    PRIMARY KEY (collection, mark, day)
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The traffic of one collection under the policy that was in force last.

    Attributes:
        promise: of its calibration; None where the policy makes none.
        weeks: the latest first.
    """

    policy: str
    promise: Promise | None
    weeks: tuple[Week, ...]

    @property
    def drifted(self) -> bool:
        """Whether a rate has, in the latest week."""
        return bool(self.weeks) and self.weeks[0].drifted


class Traffic:
    """The counts of a data folder. Thread-safe.

    Raises:
        StoreError: the file cannot be used, or another version wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TRAFFIC_FILE
        self._lock = threading.Lock()
        self._marks: dict[int, tuple[Policy, str]] = {}  # by identity; a server has few policies
        self._db = opened(self.path, version=_VERSION, schema=_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def add(
        self, outcome: Outcome, policy: Policy, collection: str, *, now: datetime | None = None
    ) -> None:
        """Count a question. Never fails: its answer has nothing to do with it.

        Args:
            now: with a time zone; None: the time.
        """
        moment = datetime.now(UTC) if now is None else now.astimezone(UTC)
        try:
            with self._lock, self._db:
                if id(policy) not in self._marks:
                    promise = promise_of(policy, outcome.first_stage)
                    told = "null" if promise is None else json.dumps(asdict(promise))
                    self._db.execute(
                        "INSERT OR IGNORE INTO policy VALUES (?, ?, ?)",
                        (policy.sha256, policy.name, told),
                    )
                    self._marks[id(policy)] = policy, policy.sha256
                mark = self._marks[id(policy)][1]
                self._db.execute(
                    "INSERT INTO day VALUES (?, ?, ?, ?, 1, ?, ?) "
                    "ON CONFLICT (collection, mark, day) DO UPDATE SET last = excluded.last, "
                    "n = n + 1, skipped = skipped + excluded.skipped, "
                    "refused = refused + excluded.refused",
                    (
                        moment.date().isoformat(),
                        collection,
                        mark,
                        moment.isoformat(),
                        outcome.path is Way.SKIPPED,
                        not outcome.kept,
                    ),
                )
        except sqlite3.Error:  # such as a full disk
            logger.warning("a question could not be counted", exc_info=True)

    def watched(self, collection: str) -> Watched | None:
        """What is known of a collection; None before its first question."""
        with self._lock:
            last = self._db.execute(
                "SELECT mark, name, promise FROM day JOIN policy USING (mark) "
                "WHERE collection = ? ORDER BY last DESC LIMIT 1",
                (collection,),
            ).fetchone()
            if last is None:
                return None
            rows = self._db.execute(
                "SELECT day, n, skipped, refused FROM day "
                "WHERE collection = ? AND mark = ? ORDER BY day",
                (collection, last[0]),
            ).fetchall()
        promise = _promise(json.loads(last[2]))
        days = [Day(day=date.fromisoformat(d), n=n, skipped=s, refused=r) for d, n, s, r in rows]
        return Watched(
            policy=last[1], promise=promise, weeks=tuple(reversed(weeks_of(days, promise)))
        )


def _promise(plain: dict[str, Any] | None) -> Promise | None:
    """The inverse of `asdict`."""
    if plain is None:
        return None
    counted = {
        name: None if plain[name] is None else Counted(**plain[name])
        for name in ("skipped", "skipped_unanswerable", "refused", "refused_unanswerable")
    }
    known = plain["answerable"]
    expected = None if known is None else Expected(**known)
    return Promise(**{**plain, **counted, "answerable": expected})
