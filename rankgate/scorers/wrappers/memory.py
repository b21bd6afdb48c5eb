"""Scores in memory: the least recently used ones go when the bytes are used up."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from rankgate.errors import ConfigError

__all__ = ["ENTRY_BYTES", "ScoreMemory"]

# Measured on CPython 3.11: a 32-byte key (65), a float (24), and its place in an ordered
# dictionary (about 130).
ENTRY_BYTES = 220


class ScoreMemory:
    """Thread-safe LRU from key to score.

    Args:
        max_bytes: room; every entry takes `ENTRY_BYTES`. 0 keeps nothing.

    Raises:
        ConfigError: `max_bytes` is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ConfigError(f"max_bytes must not be negative, got {max_bytes}")
        self.max_bytes = max_bytes
        self._room = max_bytes // ENTRY_BYTES
        self._entries: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    @property
    def used_bytes(self) -> int:
        """Bytes in use; never above `max_bytes`."""
        return len(self) * ENTRY_BYTES

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, float]:
        """The known ones, which thereby become the most recently used."""
        found = {}
        with self._lock:
            for key in keys:
                value = self._entries.get(key)
                if value is not None:
                    self._entries.move_to_end(key)
                    found[key] = value
        return found

    def put_many(self, scores: Mapping[bytes, float]) -> None:
        """Keep these, dropping the least recently used beyond the room."""
        with self._lock:
            for key, value in scores.items():
                self._entries[key] = value
                self._entries.move_to_end(key)
            while len(self._entries) > self._room:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
