"""Token vectors kept on disk, so that late interaction only has to read the query."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rankgate.encoders.encoder import TokenEncoder, TokenVectors
from rankgate.encoders.packing import PackedVectors, bytes_a_token, packed
from rankgate.errors import ConfigError

__all__ = ["TokenStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS packed (
    key BLOB PRIMARY KEY, codes BLOB NOT NULL, scales BLOB NOT NULL, pooled BLOB NOT NULL,
    truncated INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (key BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uses_at ON uses (at);
"""
_FRESH_S = 60.0  # a use is written down once a minute: reading shall stay reading
_EVICTED = 64
_log = logging.getLogger("rankgate")
_Answer = TypeVar("_Answer")


class TokenStore:
    """Vectors by content: the key is a hash of the text, so a stale entry cannot be read.

    98 bytes a token at 384 dimensions, see `packing`. A cache: it can be deleted at any time, and
    one that is damaged is thrown away with a warning.

    Args:
        encoder: name and hash of the encoder; a store of another encoder is emptied, with a
            warning; one that holds whole vectors (up to rankgate 0.1) is packed when it is opened.
        dimension: length of a vector.
        max_bytes: room in the file; the least recently used texts go where it is short. None:
            nothing goes by itself.
        clock: seconds, for what was used when.

    Raises:
        ConfigError: the file cannot be opened as a store.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        encoder: str,
        dimension: int,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if max_bytes is not None and max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, or None, got {max_bytes}")
        self.path = Path(path)
        self.encoder = encoder
        self.dimension = dimension
        self._width = bytes_a_token(dimension)
        self.max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        try:
            try:
                self._open()
            except sqlite3.DatabaseError as exc:
                self._open_anew(exc)
        except (sqlite3.Error, OSError) as exc:
            raise ConfigError(
                f"the token store {self.path} cannot be opened ({exc}). It is only a cache: "
                "delete the file, and it is filled again."
            ) from exc

    def _open(self) -> None:
        # Vectors tell what a text says, so they are their owner's alone; SQLite gives the
        # files beside it the same mode.
        self.path.touch(mode=0o600)
        self._db = sqlite3.connect(self.path, check_same_thread=False)
        # Of a new file: a passage ends in half an empty page, which would be 2 KB.
        self._db.execute("PRAGMA page_size=1024")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        row = self._db.execute("SELECT value FROM meta WHERE name='encoder'").fetchone()
        if row is None or row[0] != self.encoder:
            self._empty(None if row is None else row[0])
        self._pack_whole_vectors()

    def _open_anew(self, exc: sqlite3.DatabaseError) -> None:
        """Throw away a damaged file; what is no damage (locked, full, read-only) is raised."""
        if isinstance(exc, sqlite3.OperationalError) and not self.path.is_dir():
            raise exc
        _log.warning(
            "the token store %s is damaged (%s): it is thrown away, and filled again as texts "
            "are read",
            self.path,
            exc,
        )
        with contextlib.suppress(AttributeError, sqlite3.Error):  # it may never have been opened
            self._db.close()
        for end in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + end)
            if file.is_dir():  # somebody's, so it is not deleted
                file.replace(file.with_name(f"{file.name}.aside"))
            file.unlink(missing_ok=True)
        self._open()

    def _sound(self, ask: Callable[[], _Answer]) -> _Answer:
        """The answer, of an empty file where this one turns out to be damaged.

        Raises:
            ConfigError: the disk is full or read-only, or another process keeps it locked.
        """
        with self._lock:
            try:
                return ask()
            except sqlite3.OperationalError as exc:
                raise ConfigError(
                    f"the token store {self.path} cannot be used now ({exc}): see that its disk is "
                    "neither full nor read-only, and try again"
                ) from exc
            except sqlite3.DatabaseError as exc:
                self._open_anew(exc)
                return ask()

    @classmethod
    def in_folder(
        cls, folder: str | Path, encoder: TokenEncoder, *, max_bytes: int | None = None
    ) -> TokenStore:
        """This encoder's store in a cache folder, which is made where it is missing.

        Raises:
            ConfigError: the folder cannot be made, or the file is not a store.
        """
        where = Path(folder)
        try:
            # For the user alone: vectors tell much of the texts that they were made from.
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError(f"the cache folder {where} cannot be made: {exc}") from exc
        return cls(
            where / f"tokens-{encoder.sha256[:12]}.sqlite",
            encoder=f"{encoder.name}|{encoder.sha256}",
            dimension=encoder.dimension,
            max_bytes=max_bytes,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Opened again on the other side: a connection does not travel.
        again = partial(
            type(self), encoder=self.encoder, dimension=self.dimension, max_bytes=self.max_bytes
        )
        return (again, (self.path,))

    @staticmethod
    def _key(text: str) -> bytes:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

    def _empty(self, other: str | None) -> None:
        kept = int(self._db.execute("SELECT count(*) FROM packed").fetchone()[0])
        if kept:
            _log.warning(
                "the token store %s held %d texts of %s, not of %s: it is emptied, and filled "
                "again as texts are read",
                self.path,
                kept,
                other,
                self.encoder,
            )
        with self._db:
            self._db.execute("DELETE FROM packed")
            self._db.execute("DELETE FROM uses")
            self._db.execute("DROP TABLE IF EXISTS vectors")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('encoder', ?)", (self.encoder,))

    def _pack_whole_vectors(self) -> None:
        """Take over the table of earlier versions, an eighth of its size, and give the room back.

        In small transactions: two programs may open the file at once, and either may be stopped.
        """
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name='vectors'").fetchone():
            return
        _log.warning("the token vectors of %s are made smaller, once", self.path)
        some = "SELECT * FROM vectors LIMIT ?"
        while rows := self._db.execute(some, (_EVICTED,)).fetchall():
            with self._db:
                for key, tokens, pooled, truncated in rows:
                    whole = TokenVectors(
                        tokens=np.frombuffer(tokens, dtype=np.float16).reshape(-1, self.dimension),
                        pooled=np.frombuffer(pooled, dtype=np.float32),
                        truncated=bool(truncated),
                    )
                    self._keep([_row(key, whole)])
                    self._db.execute("DELETE FROM vectors WHERE key = ?", (key,))
        self._db.execute("DROP TABLE vectors")
        self._db.execute("VACUUM")

    def _keep(self, rows: Sequence[tuple[bytes, bytes, bytes, bytes, int]]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO packed VALUES (?, ?, ?, ?, ?)", rows)

    def put_many(self, vectors: Mapping[str, TokenVectors | PackedVectors]) -> None:
        """Keep the vectors of these texts."""
        rows = [_row(self._key(t), v) for t, v in vectors.items()]

        def put() -> None:
            with self._db:
                self._keep(rows)
                if self.max_bytes is not None:
                    self._use([row[0] for row in rows])
                    self._evict(self.max_bytes)

        self._sound(put)

    def get_many(self, texts: Sequence[str]) -> dict[str, PackedVectors]:
        """The vectors that are known, by text; unknown texts are absent."""
        keys = {self._key(t): t for t in texts}
        listed = list(keys)

        def get() -> dict[str, PackedVectors]:
            found: dict[str, PackedVectors] = {}
            for start in range(0, len(listed), 500):
                part = listed[start : start + 500]
                marks = ",".join("?" * len(part))
                cursor = self._db.execute(
                    "SELECT key, codes, scales, pooled, truncated FROM packed "
                    f"WHERE key IN ({marks})",
                    part,
                )
                for key, codes, scales, pooled, truncated in cursor:
                    known = np.frombuffer(scales, dtype=np.float16)
                    found[keys[key]] = PackedVectors(
                        codes=np.frombuffer(codes, dtype=np.uint8).reshape(len(known), self._width),
                        scales=known,
                        pooled=np.frombuffer(pooled, dtype=np.float32),
                        truncated=bool(truncated),
                    )
                if self.max_bytes is not None:
                    self._use_again(part, marks)
            return found

        return self._sound(get)

    def _use(self, keys: Iterable[bytes]) -> None:
        now = self._clock()
        self._db.executemany(
            "INSERT OR REPLACE INTO uses VALUES (?, ?)", [(key, now) for key in keys]
        )

    def _use_again(self, keys: Sequence[bytes], marks: str) -> None:
        stale = self._db.execute(
            f"SELECT key FROM uses WHERE key IN ({marks}) AND at < ?",
            (*keys, self._clock() - _FRESH_S),
        ).fetchall()
        # Where another process writes at this moment, a use goes unnoticed rather than unread.
        with contextlib.suppress(sqlite3.OperationalError):
            if stale:
                with self._db:
                    self._use(key for (key,) in stale)

    def _evict(self, room: int) -> None:
        while self._taken() > room:
            oldest = self._db.execute(
                "SELECT key FROM uses ORDER BY at LIMIT ?", (_EVICTED,)
            ).fetchall()
            if not oldest:
                return
            self._db.executemany("DELETE FROM packed WHERE key = ?", oldest)
            self._db.executemany("DELETE FROM uses WHERE key = ?", oldest)

    def _taken(self) -> int:
        size, pages, free = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_size", "page_count", "freelist_count")
        )
        return size * (pages - free)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The texts that are not known, each once, in order; no vector is read."""
        keys = {self._key(t): t for t in texts}
        listed = list(keys)

        def known() -> set[bytes]:
            found: set[bytes] = set()
            for start in range(0, len(listed), 500):
                part = listed[start : start + 500]
                marks = ",".join("?" * len(part))
                cursor = self._db.execute(f"SELECT key FROM packed WHERE key IN ({marks})", part)
                found.update(key for (key,) in cursor)
            return found

        there = self._sound(known)
        return [text for key, text in keys.items() if key not in there]

    def delete_texts(self, texts: Sequence[str]) -> None:
        """Forget these texts."""

        def delete() -> None:
            with self._db:
                self._db.executemany(
                    "DELETE FROM packed WHERE key = ?", [(self._key(t),) for t in texts]
                )

        self._sound(delete)

    def __len__(self) -> int:
        count = "SELECT count(*) FROM packed"
        return self._sound(lambda: int(self._db.execute(count).fetchone()[0]))

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        with self._lock:
            self._db.close()


def _row(
    key: bytes, vectors: TokenVectors | PackedVectors
) -> tuple[bytes, bytes, bytes, bytes, int]:
    v = packed(vectors)
    return key, v.codes.tobytes(), v.scales.tobytes(), v.pooled.tobytes(), int(v.truncated)
