"""The opened data folder: its lock and its manifest, which all collections in it share."""

from __future__ import annotations

import math
import shutil
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

    def drop(self, name: str) -> None:
        """Forget a closed collection and what was made from it, its vectors in Chroma apart.

        Raises:
            StoreError: the manifest cannot be written.
        """
        self.manifest.drop(name)
        for path in self._made_for(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def rename(self, old: str, new: str) -> None:
        """Call a closed collection otherwise, with its uploads; its vectors in Chroma apart.

        Uploads keep their passages, so that kept answers still find their sources.

        Raises:
            StoreError: the manifest cannot be written, or a folder cannot be moved.
        """
        moved = [(p, p.with_name(new + p.name.removeprefix(old))) for p in self._made_for(old)]
        uploads = self.path.resolve() / "uploads"
        if (uploads / old).is_dir():
            moved.append((uploads / old, uploads / new))
        try:
            for path, there in moved:
                path.replace(there)
        except OSError as exc:
            raise StoreError(f"{path} cannot be moved to {there}: {exc}") from exc
        self.manifest.rename(old, new, uploads)

    def _made_for(self, name: str) -> list[Path]:
        tokens = self.path / "tokens" / f"{name}.sqlite"
        files = (tokens, *(tokens.with_name(tokens.name + end) for end in ("-wal", "-shm")))
        return [p for p in (self.path / "bm25" / name, *files) if p.exists()]

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
