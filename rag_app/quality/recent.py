"""What happened to the latest questions of this process: for the Quality page, never on disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from rag_app.ask.result import AnswerResult

_KEPT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """One question without its words.

    Attributes:
        status: reranked, skipped, degraded or refused.
        path: which stage ordered the passages, also when the question was refused.
    """

    status: str
    path: str
    path_reason: str
    failed: bool
    timings_ms: Mapping[str, float]


class Recent:
    """The latest questions, at most `kept` of them. Thread-safe."""

    def __init__(self, kept: int = _KEPT) -> None:
        self.kept = kept
        self.since = datetime.now(UTC)
        self._lock = threading.Lock()
        self._all: deque[Handled] = deque(maxlen=kept)

    def add(self, result: AnswerResult) -> None:
        """Remember one."""
        outcome = result.outcome
        one = Handled(
            status=outcome.status.value,
            path=outcome.path.value,
            path_reason=outcome.path_reason,
            failed=result.status == "generator_failed",
            timings_ms=dict(result.timings_ms),
        )
        with self._lock:
            self._all.append(one)

    def all(self) -> list[Handled]:
        """Oldest first."""
        with self._lock:
            return list(self._all)
