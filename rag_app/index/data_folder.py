"""The opened data folder: its lock and its manifest, which all collections in it share."""

from __future__ import annotations

import math
import time
from pathlib import Path

from rag_app.errors import StoreError
from rag_app.index.lock import DataLock
from rag_app.index.manifest import Manifest
from rag_app.index.manifest_copy import MANIFEST, restore_lost


class DataFolder:
    """Held by one process at a time; a context manager.

    A command opens one collection and lets the store hold the folder; a server opens the folder
    once and any number of collections in it.

    Args:
        path: the folder; made if it is not there.
        wait_s: seconds to wait for another holder.

    Raises:
        StoreLockedError: in use by another process, or opened in this one before.
        StoreError: the folder cannot be used, or its manifest is damaged.
    """

    def __init__(self, path: Path, *, wait_s: float = 2.0) -> None:
        self.path = path
        self._closed, self._copied = False, -math.inf
        self._lock = DataLock(path, wait_s=wait_s)
        try:
            for sub in ("bm25", "tokens"):
                (path / sub).mkdir(exist_ok=True)
            restore_lost(path)
            self.manifest = Manifest(path / MANIFEST)
        except BaseException as exc:
            self._lock.release()
            if isinstance(exc, OSError):
                raise StoreError(f"the data folder {path} cannot be used: {exc}") from exc
            raise

    def keep_copy(self, *, after_s: float = 0.0) -> None:
        """Keep a copy of a manifest that has changed, but none sooner than `after_s` seconds."""
        if self.manifest.changed and time.monotonic() - self._copied >= after_s:
            self._copied = time.monotonic()
            self.manifest.keep_copy()

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of manifest and lock; closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        self.keep_copy()
        self.manifest.close()
        self._lock.release()
