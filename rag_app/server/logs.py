"""Log lines of a running server, on stderr, for people or for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

__all__ = ["JsonLines", "log_to_stderr"]


class JsonLines(logging.Formatter):
    """A JSON object a line; what stands around a request comes as fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        line |= {"message": record.getMessage()} if fields is None else fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(form: str) -> None:
    """Show warnings of everything that is ours, and a line a request.

    Args:
        form: `text`, `json`, or `none`: no lines of requests.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines()
        if form == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    for name in ("rankgate", "uvicorn"):
        ours = logging.getLogger(name)
        ours.addHandler(handler)
        ours.propagate = False
    logging.getLogger("rankgate.access").setLevel(
        logging.WARNING if form == "none" else logging.INFO
    )
