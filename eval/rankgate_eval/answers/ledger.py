"""The log of every answer that was paid for: append-only, one JSON line each, fsynced.

A response is in the ledger before anything is made of it, so whoever kills the run loses at
most the calls that were on their way. A run over the same folder reads the ledger first and pays
for nothing in it. Keys hash everything that an answer depends on, so other settings never meet
an old answer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rankgate.errors import ConfigError

__all__ = ["Ledger", "digest"]


def digest(value: Any) -> str:
    """Sha256 of plain data, the same for equal data whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Ledger:
    """Responses by key, in memory and in a file that only grows.

    A torn last line (the process died while it was written) is cut off; its call was never
    used. Not for several processes at once: the file is locked where the system can.

    Args:
        path: the file; made where it is missing. None: in memory only.

    Raises:
        ConfigError: the file is no ledger, is damaged before its last line, or is in use.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self._rows: dict[str, dict[str, Any]] = {}
        self._file: Any = None
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as exc:
            raise ConfigError(f"the log {self.path} cannot be opened: {exc}") from exc
        try:
            _lock(self._file, self.path)
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        self._file.seek(0)
        data: bytes = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            self._file.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                row = json.loads(line)
                self._rows[row["key"]] = row
            except (ValueError, KeyError, TypeError) as exc:
                raise ConfigError(
                    f"{self.path}, line {number}: not a line of this log ({exc}). Restore the "
                    "file, or give another --out; everything would be paid for again."
                ) from exc

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._rows.values())

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The row of a key; None where nothing was paid for it."""
        return self._rows.get(key)

    def append(self, key: str, row: Mapping[str, Any]) -> None:
        """Write a row, and return only when it is on the disk."""
        full = {"key": key, **row}
        if self._file is not None:
            line = json.dumps(full, ensure_ascii=True, separators=(",", ":")) + "\n"
            self._file.write(line.encode("ascii"))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._rows[key] = full

    def copy(self) -> Ledger:
        """The same rows in memory alone; what is appended there touches no file."""
        other = Ledger(None)
        other._rows = dict(self._rows)
        return other

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _lock(file: Any, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows; there two runs into one folder are the user's to avoid
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise ConfigError(
            f"another run is writing to {path}: wait for it, or give another --out"
        ) from exc
