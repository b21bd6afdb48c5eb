"""The lock of a data folder: one process at a time, because Chroma allows no second opener."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rag_app.errors import StoreError, StoreLockedError
from rag_app.index.private import private_folder


class DataLock:
    """Holds `folder` until `release`, or until this process ends, however it ends.

    Args:
        folder: the data folder; made if it is not there.
        wait_s: seconds to wait for another holder.

    Raises:
        StoreLockedError: still held after that; the message names the holder.
        StoreError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, *, wait_s: float) -> None:
        self._holder = folder / "lock.pid"
        # Not a singleton and not per thread: a second opener in this process has to wait too.
        self._lock = FileLock(str(folder / "lock"), thread_local=False)
        try:
            private_folder(folder)
            self._lock.acquire(timeout=wait_s, poll_interval=0.05)
            self._holder.write_text(str(os.getpid()), "utf-8")
        except Timeout as exc:
            pid = self._pid()
            who = "an unknown process" if pid is None else f"process {pid}"
            hint = "close the other opener"
            if pid == os.getpid():
                who = f"this process ({pid}), which has opened it already"
            elif pid is not None:
                hint = f"wait for it to finish, or end it (kill {pid})"
            raise StoreLockedError(
                f"the data folder {folder} is in use by {who}: {hint}, or choose another folder "
                "with --data-dir.",
                pid,
            ) from exc
        except OSError as exc:
            raise StoreError(
                f"the data folder {folder} cannot be used: {exc.strerror or exc}. Choose another "
                "with --data-dir."
            ) from exc

    def _pid(self) -> int | None:
        try:
            return int(self._holder.read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Give the folder back; doing so twice does nothing."""
        if self._lock.is_locked:
            with suppress(OSError):  # a disk that has become read-only
                self._holder.unlink(missing_ok=True)
            self._lock.release()
