"""A log of questions with what became of them: what `rankgate calibrate --from-log` reads.

It holds the words of every question, so nobody writes it who was not told to.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate.feedback import append_rows
from rankgate.outcome import Outcome

__all__ = ["QUESTION_LOG", "QuestionLog"]

logger = logging.getLogger("rankgate")

QUESTION_LOG = "question_log.jsonl"
"""Its usual name."""

_writing = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLog:
    """A file with a JSON line a question, for its owner's eyes alone (mode 0600).

    Attributes:
        file: the log; its folder must be there.
        session: gives the conversation that the question in hand belongs to, where nothing else
            says it, such as `ContextVar.get`; questions of one are not independent.
        texts: whether the passages that were kept stand there too, ids and texts.
        max_bytes: size beyond which the older half goes. Lines that other processes write in
            that moment may be lost.

    Raises:
        InputError: there is no such folder, or the size is none.
    """

    file: Path
    session: Callable[[], str | None] | None = None
    texts: bool = False
    max_bytes: int = 50_000_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", Path(self.file).expanduser().absolute())
        if not self.file.parent.is_dir() or self.file.is_dir():
            raise InputError(f"question log: {self.file} must be a file in a folder that exists")
        if self.max_bytes < 1:
            raise InputError(f"max_bytes must be at least 1, got {self.max_bytes}")

    def add(
        self, outcome: Outcome, *, session: str | None = None, collection: str | None = None
    ) -> None:
        """Append one question. A file that cannot be written is a warning in the program's log.

        Args:
            outcome: of the question.
            session: of the conversation that it stands in; None: as `self.session` says.
            collection: that was asked.
        """
        if session is None and self.session is not None:
            session = self.session()
        row: dict[str, Any] = {
            "version": 1,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "query": outcome.query,
            "status": outcome.status.value,
            "path": outcome.path.value,
            "reason": outcome.reason,
            "band": None if outcome.judged_band is None else outcome.judged_band.value,
            "policy": outcome.policy,
            "session": session,
            "collection": collection,
            "probability": outcome.best_probability,
            "signals": _signals(outcome),
        }
        if self.texts:
            kept = (p.candidate for p in outcome.kept)
            row["passages"] = [{"id": c.id, "text": c.text} for c in kept]
        try:
            with _writing:
                append_rows(self.file, [{k: v for k, v in row.items() if v is not None}])
                if self.file.stat().st_size > self.max_bytes:
                    self._trim()
        except OSError:  # a full disk is no reason to withhold an answer
            logger.warning("a question could not be logged", exc_info=True)

    def _trim(self) -> None:
        content = self.file.read_bytes()
        cut = content.find(b"\n", len(content) - self.max_bytes // 2) + 1
        newer = self.file.with_name(f"{self.file.name}.new")
        newer.unlink(missing_ok=True)
        with os.fdopen(os.open(newer, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content[cut:] if cut else b"")
        os.replace(newer, self.file)


def _signals(outcome: Outcome) -> dict[str, float]:
    """What the gate saw of question and first stage, for `rankgate eval drift`."""
    seen = outcome.signals.values()
    return {
        name: round(value, 5)
        for name, value in seen.items()
        if value is not None and name not in ("remaining_ms", "breaker_open")
    }
