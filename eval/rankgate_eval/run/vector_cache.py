"""Vectors kept on disk by content, so that nothing is encoded twice and a stop costs little."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rankgate.errors import ConfigError, InputError
from rankgate.texts import clean_text

__all__ = ["Encoder", "Progress", "VectorCache"]

Progress = Callable[[int, int], None]
"""Called with the number done and the total."""

_BATCH = 128


class Encoder(Protocol):
    """What turns texts into vectors; `rankgate.encoders.TokenEncoder` is one.

    `name`, `sha256` and `dimension` say whose vectors they are: a cache never mixes two.
    """

    name: str
    sha256: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, dimension) unit vectors."""
        ...


class VectorCache:
    """An encoder with a memory: texts that were encoded before are read from disk.

    Each batch is committed as it is done, so that encoding resumes where it was stopped. Keys
    are hashes of the text, so a changed text is never given an old vector. Thread-safe.

    Args:
        encoder: encodes what is not known.
        folder: where to keep vectors, one file an encoder; None: in memory only.

    Raises:
        ConfigError: the file cannot be opened as a cache.
    """

    def __init__(self, encoder: Encoder, folder: str | Path | None = None) -> None:
        self.encoder = encoder
        self._lock = threading.Lock()
        self.path: Path | None = None
        if folder is not None:
            identity = f"{encoder.name}|{encoder.sha256}|{encoder.dimension}"
            digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
            self.path = Path(folder) / f"vectors-{digest}.sqlite"
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            name = ":memory:" if self.path is None else str(self.path)
            self._db = sqlite3.connect(name, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS vectors "
                "(key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )
        except (sqlite3.Error, OSError) as exc:
            raise ConfigError(
                f"the vector cache {self.path} cannot be opened ({exc}). It is only a cache: "
                "delete the file, or name another folder."
            ) from exc

    def vectors(
        self, texts: Sequence[str], *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """(n, dimension) unit vectors, one a text, in order.

        Args:
            texts: any; lone surrogates and NUL are mended as the encoder mends them.
            progress: told how many of the texts are done, at least once.

        Raises:
            InputError: the encoder returns another shape, or values that are not finite.
        """
        clean = [clean_text(text) for text in texts]
        keys = [hashlib.sha256(text.encode()).digest() for text in clean]
        found = self._known(keys)
        absent = {k: t for k, t in zip(keys, clean, strict=True) if k not in found}
        pending = list(absent.items())
        done = len(keys) - len(pending)
        if progress is not None:
            progress(done, len(keys))
        for start in range(0, len(pending), _BATCH):
            part = pending[start : start + _BATCH]
            rows = self._encoded([text for _, text in part])
            fresh = {key: row for (key, _), row in zip(part, rows, strict=True)}
            found.update(fresh)
            with self._lock, self._db:
                self._db.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                    [(key, row.tobytes()) for key, row in fresh.items()],
                )
            done += len(part)
            if progress is not None:
                progress(done, len(keys))
        if not keys:
            return np.zeros((0, self.encoder.dimension), dtype=np.float32)
        return np.stack([found[key] for key in keys])

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, npt.NDArray[np.float32]]:
        wanted = list(dict.fromkeys(keys))
        found: dict[bytes, npt.NDArray[np.float32]] = {}
        with self._lock:
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                marks = ",".join("?" * len(part))
                cursor = self._db.execute(
                    f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part
                )
                for key, blob in cursor:
                    found[key] = np.frombuffer(blob, dtype=np.float32)
        return found

    def _encoded(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        rows = np.ascontiguousarray(self.encoder.embed(texts), dtype=np.float32)
        if rows.shape != (len(texts), self.encoder.dimension):
            raise InputError(
                f"encoder {self.encoder.name!r} returned shape {rows.shape} for {len(texts)} "
                f"texts, expected ({len(texts)}, {self.encoder.dimension})"
            )
        if not np.isfinite(rows).all():
            raise InputError(f"encoder {self.encoder.name!r} returned values that are not finite")
        # Cosines are read as dot products, so length has to be 1; a zero vector stays one.
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        units: npt.NDArray[np.float32] = rows / np.maximum(length, np.float32(1e-12))
        return units

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        with self._lock:
            self._db.close()
