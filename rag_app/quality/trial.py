"""Which of two policies traffic prefers: who drafted what was cited, opened and rated, on disk.

Ids and counts alone; no word of a question or passage. See `rag_app.ask.interleaved`.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rag_app.ask.interleaved import Interleaved
from rag_app.quality.measurements import opened
from rankgate import Policy
from rankgate.live.interleave import Preference, preference

logger = logging.getLogger("rankgate.server")

TRIAL_FILE = "interleaving.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (
    turn TEXT PRIMARY KEY, conversation TEXT NOT NULL, time TEXT NOT NULL,
    collection TEXT NOT NULL, pair TEXT NOT NULL, name_a TEXT NOT NULL, name_b TEXT NOT NULL,
    differs INTEGER NOT NULL, cited_a INTEGER NOT NULL, cited_b INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS credit (
    turn TEXT NOT NULL, chunk TEXT NOT NULL, team TEXT NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (turn, chunk)
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Two policies on one collection's traffic, the pair that answered last.

    Attributes:
        a, b: names of `policy` and `policy_b`.
        answers: that both had a say in.
        differing: in which they would keep other passages, or in another order, and none refused.
        people: by opened sources and thumbs.
        cited: by what the generator cited, which is no judgement of anybody.
    """

    a: str
    b: str
    answers: int
    differing: int
    people: Preference
    cited: Preference


class Trial:
    """The interleaved answers of a data folder. Thread-safe.

    Raises:
        StoreError: the file cannot be used, or another version wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TRIAL_FILE
        self._lock = threading.Lock()
        self._db = opened(self.path, version=_VERSION, schema=_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def add(
        self,
        together: Interleaved,
        policies: tuple[Policy, Policy],
        *,
        collection: str,
        cited: Iterable[str],
        conversation: str | None = None,
        turn: str | None = None,
    ) -> None:
        """Keep an answer. Never fails: the answer has nothing to do with it.

        Args:
            cited: ids of the passages that the answer cites.
            conversation: that it belongs to; None: it stands alone.
        """
        identifier = uuid.uuid4().hex if turn is None else turn
        teams = [together.teams.get(chunk) for chunk in cited]
        self._write(
            "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    identifier,
                    identifier if conversation is None else conversation,
                    datetime.now(UTC).isoformat(),
                    collection,
                    " ".join(p.sha256 for p in policies),
                    *(p.name for p in policies),
                    bool(together.teams),
                    teams.count("a"),
                    teams.count("b"),
                )
            ],
        )

    def credit(
        self, turn: str, teams: Mapping[str, str], chunks: Iterable[str], *, relevant: bool
    ) -> None:
        """What somebody said of passages of an answer; what was said last counts. Never fails.

        Args:
            teams: its passages, to who drafted them.
            chunks: ids of those that were judged.
        """
        rows = [(turn, c, teams[c], 1 if relevant else -1) for c in chunks if c in teams]
        self._write("INSERT OR REPLACE INTO credit VALUES (?, ?, ?, ?)", rows)

    def standing(self, collection: str) -> Standing | None:
        """How the pair that answered last does; None before its first answer."""
        with self._lock:
            last = self._db.execute(
                "SELECT pair, name_a, name_b FROM answer WHERE collection = ? "
                "ORDER BY time DESC LIMIT 1",
                (collection,),
            ).fetchone()
            if last is None:
                return None
            rows = self._db.execute(
                "SELECT turn, conversation, differs, cited_a, cited_b FROM answer "
                "WHERE collection = ? AND pair = ?",
                (collection, last[0]),
            ).fetchall()
            said = self._db.execute(
                "SELECT turn, team, SUM(value) FROM credit GROUP BY turn, team"
            ).fetchall()
        credits: dict[str, dict[str, float]] = {}
        for turn, team, value in said:
            credits.setdefault(turn, {})[team] = float(value)
        return Standing(
            a=last[1],
            b=last[2],
            answers=len(rows),
            differing=sum(r[2] for r in rows),
            people=preference(
                (r[1], credits[r[0]].get("a", 0.0), credits[r[0]].get("b", 0.0))
                for r in rows
                if r[0] in credits
            ),
            cited=preference((r[1], float(r[3]), float(r[4])) for r in rows if r[3] + r[4]),
        )

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        try:
            with self._lock, self._db:
                self._db.executemany(statement, rows)
        except sqlite3.Error:  # such as a full disk
            logger.warning("an interleaved answer could not be kept", exc_info=True)
