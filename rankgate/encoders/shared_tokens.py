"""Token vectors that every program of a user keeps in one folder, and that can fail unnoticed."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from rankgate.encoders.encoder import TokenEncoder, TokenVectors
from rankgate.encoders.packing import PackedVectors
from rankgate.encoders.token_store import TokenStore
from rankgate.errors import ConfigError

__all__ = ["DEFAULT_BYTES", "SharedTokens"]

DEFAULT_BYTES = 2 * 2**30
_log = logging.getLogger("rankgate")
_Answer = TypeVar("_Answer")


class SharedTokens:
    """A bounded `TokenStore` that its reader fills, and whose failure costs time and nothing else.

    Threads, forked children and other processes may use the folder at once.

    Args:
        max_bytes: room on disk; the least recently used texts go where it is short.

    Attributes:
        failure: why the last call kept or found nothing; None: all is well.
    """

    def __init__(
        self, folder: str | Path, encoder: TokenEncoder, *, max_bytes: int = DEFAULT_BYTES
    ) -> None:
        self.folder = Path(folder)
        self.encoder = encoder
        self.max_bytes = max_bytes
        self.failure: str | None = None
        self._opened: tuple[int, TokenStore] | None = None
        self._store()

    def __reduce__(self) -> tuple[object, ...]:
        return (partial(type(self), max_bytes=self.max_bytes), (self.folder, self.encoder))

    def get_many(self, texts: Sequence[str]) -> dict[str, PackedVectors]:
        """The vectors that are known, by text."""
        return self._asked(lambda store: store.get_many(texts), {})

    def put_many(self, vectors: Mapping[str, TokenVectors | PackedVectors]) -> None:
        """Keep these, where that is possible."""
        if vectors:
            self._asked(lambda store: store.put_many(vectors), None)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The texts that are not known, each once, in order."""
        return self._asked(lambda store: store.missing(texts), list(dict.fromkeys(texts)))

    def _asked(self, ask: Callable[[TokenStore], _Answer], otherwise: _Answer) -> _Answer:
        store = self._store()
        if store is None:
            return otherwise
        try:
            answer = ask(store)
            self.failure = None
            return answer
        except sqlite3.Error as exc:
            self._failed(f"{store.path}: {exc}. It is only a cache and can be deleted")
            return otherwise

    def _store(self) -> TokenStore | None:
        # A connection does not survive a fork, so each process opens its own.
        if self._opened is not None and self._opened[0] == os.getpid():
            return self._opened[1]
        try:
            store = TokenStore.in_folder(self.folder, self.encoder, max_bytes=self.max_bytes)
        except ConfigError as exc:
            self._failed(str(exc))
            return None
        self._opened = (os.getpid(), store)
        return store

    def _failed(self, why: str) -> None:
        if self.failure is None:
            _log.warning("token vectors are not kept, every passage is read anew: %s", why)
        self.failure = why
