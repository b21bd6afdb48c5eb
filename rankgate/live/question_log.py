"""A log of questions with what became of them: what `rankgate calibrate --from-log` reads.

It holds the words of every question, so nobody writes it who was not told to.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rankgate.feedback import append_rows
from rankgate.outcome import Outcome

__all__ = ["QUESTION_LOG", "log_question"]

QUESTION_LOG = "question_log.jsonl"
"""Its usual name."""


def log_question(
    file: str | Path,
    outcome: Outcome,
    *,
    session: str | None = None,
    collection: str | None = None,
) -> None:
    """Append one question: a JSON line, for the owner of the file alone.

    Args:
        session: of the conversation that it stands in; questions of one are not independent.
    """
    row = {
        "version": 1,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "query": outcome.query,
        "status": outcome.status.value,
        "path": outcome.path.value,
        "reason": outcome.reason,
        "band": outcome.band.value,
        "policy": outcome.policy,
        "session": session,
        "collection": collection,
    }
    append_rows(file, [{k: v for k, v in row.items() if v is not None}])
