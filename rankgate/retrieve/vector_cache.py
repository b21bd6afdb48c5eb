"""Encoders with a memory: vectors kept by content, so that nothing is encoded twice.

Each is an `Encoder` around another, so caches stack: `VectorCache(TokenCache(encoder, store))`
keeps the pooled vectors for searching and the token vectors for late interaction, from one pass.
A run that is stopped resumes; a changed text is never given an old vector.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rankgate.encoders.encoder import TokenVectors
from rankgate.encoders.packing import PackedVectors, packed
from rankgate.encoders.shared_tokens import SharedTokens
from rankgate.encoders.token_store import TokenStore
from rankgate.errors import ConfigError, InputError
from rankgate.texts import clean_text

__all__ = ["Embedder", "Encoder", "Progress", "TokenCache", "TokenReader", "VectorCache"]

Progress = Callable[[int, int], None]
"""Called with the number done and the total."""

_BATCH = 128
_TOKEN_BATCH = 64


class Embedder(Protocol):
    """What turns texts into vectors."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d) unit vectors of n texts."""


class Encoder(Embedder, Protocol):
    """An embedder that says whose vectors they are, so that a cache never mixes two.

    `rankgate.encoders.TokenEncoder` is one, and so are the caches around it.
    """

    name: str
    sha256: str
    dimension: int


class TokenReader(Encoder, Protocol):
    """An encoder that also gives the vectors of each token, from the same pass."""

    def encode(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Token vectors and the pooled vector of each text."""


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
        self.name = encoder.name
        self.sha256 = encoder.sha256
        self.dimension = encoder.dimension
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

    def embed(
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


class TokenCache:
    """An encoder of token vectors with a memory.

    Args:
        encoder: reads what is not known; gives token vectors and the pooled one from one pass.
        store: keeps them on disk; None: in memory, for as long as this lives.
    """

    def __init__(
        self, encoder: TokenReader, store: TokenStore | SharedTokens | None = None
    ) -> None:
        self.name = encoder.name
        self.sha256 = encoder.sha256
        self.dimension = encoder.dimension
        self.encoder = encoder
        self.store = store
        self._memory: dict[str, PackedVectors] = {}

    def token_vectors(self, texts: Sequence[str]) -> dict[str, PackedVectors]:
        """The vectors of each text, by text."""
        wanted = list(dict.fromkeys(texts))
        if self.store is None:
            known = {t: self._memory[t] for t in wanted if t in self._memory}
        else:
            known = self.store.get_many(wanted)
        fresh = self._read([t for t in wanted if t not in known])
        return known | fresh

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, dimension) pooled unit vectors, one a text, in order."""
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        known = self.token_vectors(texts)
        return np.stack([known[text].pooled for text in texts])

    def fill(self, texts: Iterable[str], *, progress: Progress | None = None) -> None:
        """Read the texts that are not known; each batch is kept as it is done.

        Args:
            texts: any; what is known is not loaded.
            progress: told how many of the unknown ones are done; never called without any.
        """
        wanted = list(dict.fromkeys(texts))
        absent = (
            [t for t in wanted if t not in self._memory]
            if self.store is None
            else self.store.missing(wanted)
        )
        for start in range(0, len(absent), _TOKEN_BATCH):
            part = absent[start : start + _TOKEN_BATCH]
            self._read(part)
            if progress is not None:
                progress(start + len(part), len(absent))

    def _read(self, texts: Sequence[str]) -> dict[str, PackedVectors]:
        read = zip(texts, self.encoder.encode(texts), strict=True)
        fresh = {text: packed(vectors) for text, vectors in read}
        if self.store is None:
            self._memory |= fresh
        else:
            self.store.put_many(fresh)
        return fresh
