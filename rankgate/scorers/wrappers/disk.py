"""Scores on disk, through diskcache; whatever is wrong with the disk is a miss, never an error."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rankgate.errors import MissingExtraError

__all__ = ["ScoreDisk"]

logger = logging.getLogger("rankgate")

# A request must not wait for another process's write lock; diskcache's own default is a minute.
_LOCK_WAIT = 0.25


class ScoreDisk:
    """A `diskcache.Cache` of scores that never fails a request.

    Opened at first use, and again in each process that it is handed to. The first fault is
    logged as a warning, later ones at debug level; after a fault, the rest of that request is
    treated as unknown, so that a stuck disk costs one wait and not one a text.

    Args:
        where: folder, or an open `diskcache.Cache`.
        size_limit: bytes on disk, kept by diskcache's own culling.

    Raises:
        MissingExtraError: diskcache is not installed.
    """

    def __init__(self, where: str | Path | Any, *, size_limit: int = 2**30) -> None:
        try:
            import diskcache
        except ImportError as exc:
            raise MissingExtraError("a score cache on disk", "cache") from exc
        self._given = not isinstance(where, (str, Path))
        self._cache: diskcache.Cache | None = None
        if isinstance(where, (str, Path)):
            self.folder = Path(where)
        else:
            self.folder, self._cache = Path(where.directory), where
        self.size_limit = size_limit
        self._lock = threading.Lock()
        self._warned = False

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The known ones; nothing that is not a finite number is taken for a score."""
        found: dict[bytes, float] = {}
        try:
            cache = self._opened()
            for key in keys:
                value = cache.get(key)
                if isinstance(value, float) and math.isfinite(value):
                    found[key] = value
        except Exception as exc:  # sqlite3, OSError, Timeout, and what damaged rows raise
            self._complain("read", exc)
        return found

    def put_many(self, scores: Mapping[bytes, float]) -> None:
        """Keep these, in one transaction."""
        if not scores:
            return
        try:
            cache = self._opened()
            with cache.transact(retry=False):
                for key, value in scores.items():
                    cache.set(key, value)
        except Exception as exc:  # as above
            self._complain("written", exc)

    def close(self) -> None:
        """Close the files that this object opened; the next use opens them again."""
        with self._lock:
            cache, self._cache = self._cache, self._cache if self._given else None
        if cache is not None and not self._given:
            cache.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self), size_limit=self.size_limit), (str(self.folder),))

    def _opened(self) -> Any:
        with self._lock:
            if self._cache is None:
                self._cache = _open(self.folder, self.size_limit)
            return self._cache

    def _complain(self, done: str, exc: Exception) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        logger.log(
            level,
            "the score cache in %s could not be %s (%s: %s); scores are computed instead. It is "
            "only a cache: delete the folder, and it is filled again.",
            self.folder,
            done,
            type(exc).__name__,
            exc,
        )


def _open(folder: Path, size_limit: int) -> Any:
    import diskcache

    class NumbersOnly(diskcache.Disk):  # type: ignore[misc]
        """Reads plain values only: unpickling what somebody put there would run their code."""

        def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
            return value if mode == diskcache.core.MODE_RAW and filename is None else None

    return diskcache.Cache(str(folder), size_limit=size_limit, timeout=_LOCK_WAIT, disk=NumbersOnly)
