"""The manifest: which documents and chunks there are. With the user's files, it is the truth.

Chroma, BM25 and the token vectors are made from it and can be thrown away. A document's rows are
written in one transaction with the state `pending`, the indexes follow, and `indexed` is
noted last; whoever opens the store after a crash finishes what is pending.

A document's id is the real path of its file, links resolved, with forward slashes: relative to
the folder that holds the data folder where the file is inside it, absolute elsewhere. So ids
do not depend on the working folder, nor on where a project with its `.rankgate` lies.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, TypeVar

from rag_app.errors import StoreError, UnknownDocumentError
from rag_app.index.manifest_copy import keep_copy, worded
from rag_app.index.page_starts import SCHEMA as _PAGES
from rag_app.index.page_starts import forget_pages, page_turns, write_pages
from rag_app.index.records import CollectionRecord, DocumentRecord, Entry, Passage, chunk_row

R = TypeVar("R")

_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS collection (
    name TEXT PRIMARY KEY, embedder TEXT NOT NULL, sha256 TEXT NOT NULL,
    dimension INTEGER NOT NULL, space TEXT NOT NULL, chunking TEXT NOT NULL,
    dirty INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS document (
    collection TEXT NOT NULL, id TEXT NOT NULL, source TEXT NOT NULL, path TEXT NOT NULL,
    found_at TEXT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, sha256 TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, pages INTEGER, pipeline TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'indexed', 'failed')),
    error TEXT, chunks INTEGER NOT NULL, name TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (collection, id)
);
CREATE TABLE IF NOT EXISTS document_text (
    collection TEXT NOT NULL, document_id TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (collection, document_id)
);
CREATE TABLE IF NOT EXISTS chunk (
    collection TEXT NOT NULL, id TEXT NOT NULL, document_id TEXT NOT NULL,
    position INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
    heading TEXT NOT NULL, page INTEGER, body_offset INTEGER NOT NULL,
    indexed_text TEXT NOT NULL, PRIMARY KEY (collection, id)
);
CREATE INDEX IF NOT EXISTS chunk_by_document ON chunk (collection, document_id, position);
CREATE INDEX IF NOT EXISTS chunk_by_text ON chunk (collection, indexed_text);
CREATE TABLE IF NOT EXISTS settled (
    collection TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, chunks INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS stale_text (
    collection TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (collection, text)
) WITHOUT ROWID;
"""
_OF_COLLECTION = ("document", "document_text", "chunk", "settled", "stale_text", "page_start")
_COLLECTION = "name, embedder, sha256, dimension, space, chunking, dirty"
_DOCUMENT = (
    "id, source, path, found_at, kind, title, sha256, size, mtime_ns, pages, pipeline, state, "
    "error, chunks, name"
)
# By the version that is read: what makes the next one of it.
_MIGRATIONS = {1: "ALTER TABLE document ADD COLUMN name TEXT NOT NULL DEFAULT ''"}


class Manifest:
    """The SQLite file. Thread-safe; one process at a time, which the store's lock sees to.

    Args:
        path: of the file; its folder must exist.

    Raises:
        StoreError: damaged, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with worded(path):
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            with worded(path):
                self._prepare()
        except StoreError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        # FULL: a document noted as indexed stays so through a power cut.
        self._db.execute("PRAGMA synchronous=FULL")
        found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if found not in (0, *_MIGRATIONS, _VERSION):
            raise StoreError(
                f"the manifest {self.path} has version {found}, this rankgate reads {_VERSION}. "
                "Install the rankgate that wrote it, or name another data folder and ingest again."
            )
        with self._transaction():
            for version in range(found, _VERSION) if found else ():
                self._db.execute(_MIGRATIONS[version])
                self._db.execute(f"PRAGMA user_version={version + 1}")
        self._db.executescript(_SCHEMA + _PAGES)
        self._db.execute(f"PRAGMA user_version={_VERSION}")
        self._unchanged = self._db.total_changes

    @property
    def changed(self) -> bool:
        """Whether anything was written since it was opened, or since `keep_copy`."""
        return self._db.total_changes != self._unchanged

    def keep_copy(self) -> None:
        """Keep a verified copy beside it, by which `rankgate doctor --repair` mends it."""
        with self._lock:
            self._unchanged = self._db.total_changes
        keep_copy(self.path.parent)

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, worded(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def _all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, worded(self.path):
            return self._db.execute(sql, values).fetchall()

    # Collections

    def collections(self) -> list[CollectionRecord]:
        """Every collection, by name."""
        rows = self._all(f"SELECT {_COLLECTION} FROM collection ORDER BY name")
        records = [_as(CollectionRecord, _COLLECTION, row) for row in rows]
        return [replace(record, dirty=bool(record.dirty)) for record in records]

    def collection(self, name: str) -> CollectionRecord | None:
        """One collection; None where there is none of this name."""
        return next((c for c in self.collections() if c.name == name), None)

    def put_collection(self, record: CollectionRecord) -> None:
        """Write what a collection is filled with."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO collection VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(record)
            )

    def empty_collection(self, name: str) -> None:
        """Forget the collection and everything in it."""
        with self._transaction() as db:
            for table in (
                *("document", "document_text", "chunk", "stale_text", "page_start", "settled"),
            ):
                db.execute(f"DELETE FROM {table} WHERE collection = ?", (name,))
            db.execute("DELETE FROM collection WHERE name = ?", (name,))

    def set_dirty(self, name: str) -> None:
        """Note that a writer begins."""
        with self._transaction() as db:
            db.execute("UPDATE collection SET dirty = 1 WHERE name = ?", (name,))

    def set_settled(self, name: str, fingerprint: str) -> None:
        """Note that a writer has finished, and the indexes were made for these chunks.

        Args:
            fingerprint: of the chunks' ids; what the indexes have to agree with.
        """
        with self._transaction() as db:
            db.execute("UPDATE collection SET dirty = 0 WHERE name = ?", (name,))
            db.execute(
                "INSERT OR REPLACE INTO settled SELECT ?, ?, COUNT(*) FROM chunk "
                "WHERE collection = ?",
                (name, fingerprint, name),
            )

    def settled(self, name: str) -> str | None:
        """Fingerprint of the chunks for which the indexes were made; None where it is not certain.

        It is not while a writer has not finished, while documents wait to be indexed, and where
        the chunks are not as many as then: an older version may have written meanwhile.
        """
        rows = self._all(
            "SELECT s.fingerprint FROM settled s JOIN collection c ON c.name = s.collection "
            "WHERE c.name = ? AND c.dirty = 0 "
            "AND s.chunks = (SELECT COUNT(*) FROM chunk WHERE collection = c.name) "
            "AND NOT EXISTS (SELECT 1 FROM document d WHERE d.collection = c.name "
            "AND d.state = 'pending')",
            name,
        )
        return str(rows[0][0]) if rows else None

    def drop(self, name: str) -> None:
        """Forget a collection with everything in it."""
        with self._transaction() as db:
            db.execute("DELETE FROM collection WHERE name = ?", (name,))
            for table in _OF_COLLECTION:
                db.execute(f"DELETE FROM {table} WHERE collection = ?", (name,))

    def rename(self, old: str, new: str, uploads: Path) -> None:
        """Call a collection otherwise; what was uploaded to it now lies below `uploads`/new."""
        home = uploads.parent.parent
        ids = [f"{(uploads / name).relative_to(home).as_posix()}/" for name in (old, new)]
        paths = [f"{(uploads / name).as_posix()}/" for name in (old, new)]
        with self._transaction() as db:
            db.execute("UPDATE collection SET name = ? WHERE name = ?", (new, old))
            for table in _OF_COLLECTION:
                db.execute(f"UPDATE {table} SET collection = ? WHERE collection = ?", (new, old))
            for table, column, (before, after) in (
                *(("document", c, paths) for c in ("path", "found_at")),
                ("document", "id", ids),
                *((t, "document_id", ids) for t in ("document_text", "chunk", "page_start")),
            ):
                db.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE collection = ? AND substr({column}, 1, ?) = ?",
                    (after, len(before) + 1, new, len(before), before),
                )

    # Documents

    def documents(self, collection: str) -> list[DocumentRecord]:
        """Every document of the collection, by id, failed ones included."""
        rows = self._all(
            f"SELECT {_DOCUMENT} FROM document WHERE collection = ? ORDER BY id", collection
        )
        return [_as(DocumentRecord, _DOCUMENT, row) for row in rows]

    def text(self, collection: str, document_id: str) -> str:
        """A document's text, as it was parsed.

        Raises:
            UnknownDocumentError: no such document.
        """
        rows = self._all(
            "SELECT text FROM document_text WHERE collection = ? AND document_id = ?",
            collection,
            document_id,
        )
        if not rows:
            raise UnknownDocumentError(f"no document {document_id!r} in collection {collection!r}")
        return str(rows[0][0])

    def replace(self, collection: str, entries: Sequence[Entry]) -> set[str]:
        """Write documents with their chunks, as pending; the ids of chunks that are no more."""
        gone: set[str] = set()
        with self._transaction() as db:
            for entry in entries:
                before = self._drop_chunks(db, collection, entry.document.id)
                gone |= before - {c.id for c in entry.chunks}
                self._write(db, collection, entry.document, "pending", len(entry.chunks))
                db.execute(
                    "INSERT OR REPLACE INTO document_text VALUES (?, ?, ?)",
                    (collection, entry.document.id, entry.text),
                )
                db.executemany(
                    "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [chunk_row(collection, c) for c in entry.chunks],
                )
                write_pages(db, collection, entry.document.id, entry.page_starts)
            db.execute("UPDATE collection SET dirty = 1 WHERE name = ?", (collection,))
        return gone

    def note(self, collection: str, document: DocumentRecord) -> None:
        """Write a document's record alone: a new time, source, or failure."""
        with self._transaction() as db:
            self._write(db, collection, document, document.state, document.chunks)

    def remove(self, collection: str, document_ids: Sequence[str]) -> set[str]:
        """Forget documents; the ids of the chunks that they had."""
        gone: set[str] = set()
        with self._transaction() as db:
            for document_id in document_ids:
                gone |= self._drop_chunks(db, collection, document_id)
                forget_pages(db, collection, document_id)
                for table, column in (("document", "id"), ("document_text", "document_id")):
                    db.execute(
                        f"DELETE FROM {table} WHERE collection = ? AND {column} = ?",
                        (collection, document_id),
                    )
            db.execute("UPDATE collection SET dirty = 1 WHERE name = ?", (collection,))
        return gone

    def mark_indexed(self, collection: str) -> None:
        """Note that the indexes hold everything that was pending."""
        with self._transaction() as db:
            db.execute(
                "UPDATE document SET state = 'indexed' WHERE collection = ? AND state = 'pending'",
                (collection,),
            )

    def _write(
        self,
        db: sqlite3.Connection,
        collection: str,
        document: DocumentRecord,
        state: str,
        chunks: int,
    ) -> None:
        d = document
        db.execute(
            f"INSERT OR REPLACE INTO document VALUES ({', '.join('?' * 16)})",
            (
                *(collection, d.id, d.source, d.path, d.found_at, d.kind, d.title, d.sha256),
                *(d.size, d.mtime_ns, d.pages, d.pipeline, state, d.error, chunks, d.name),
            ),
        )

    def _drop_chunks(self, db: sqlite3.Connection, collection: str, document_id: str) -> set[str]:
        where = "FROM chunk WHERE collection = ? AND document_id = ?"
        key = (collection, document_id)
        ids = {str(row[0]) for row in db.execute(f"SELECT id {where}", key)}
        # Their token vectors can go too, unless another chunk has the same text.
        db.execute(
            f"INSERT OR IGNORE INTO stale_text SELECT DISTINCT collection, indexed_text {where}",
            key,
        )
        db.execute(f"DELETE {where}", key)
        return ids

    # Chunks

    def count(self, collection: str) -> int:
        """Number of chunks."""
        rows = self._all("SELECT COUNT(*) FROM chunk WHERE collection = ?", collection)
        return int(rows[0][0])

    def chunk_ids(self, collection: str) -> list[str]:
        """Ids of every chunk, by document and position."""
        return [
            row[0]
            for row in self._all(
                "SELECT id FROM chunk WHERE collection = ? ORDER BY document_id, position",
                collection,
            )
        ]

    def texts(self, collection: str) -> list[tuple[str, str]]:
        """(id, indexed text) of every chunk, by document and position."""
        rows = self._all(
            "SELECT id, indexed_text FROM chunk WHERE collection = ? "
            "ORDER BY document_id, position",
            collection,
        )
        return [(row[0], row[1]) for row in rows]

    def passages(self, collection: str, ids: Iterable[str]) -> dict[str, Passage]:
        """The named chunks, by id; unknown ones are absent."""
        wanted = list(dict.fromkeys(ids))
        found: dict[str, Passage] = {}
        for first in range(0, len(wanted), 500):
            part = wanted[first : first + 500]
            rows = self._all(
                "SELECT c.id, c.document_id, c.position, c.start, c.stop, c.heading, c.page, "
                "c.body_offset, c.indexed_text, d.source, d.title, d.name FROM chunk c "
                "JOIN document d ON d.collection = c.collection AND d.id = c.document_id "
                f"WHERE c.collection = ? AND c.id IN ({', '.join('?' * len(part))})",
                collection,
                *part,
            )
            paged = [row[0] for row in rows if row[6] is not None]
            with self._lock, worded(self.path):
                turns = page_turns(self._db, collection, paged)
            found.update((row[0], Passage.of_row(row, turns.get(row[0], ()))) for row in rows)
        return found

    def present(self, collection: str, ids: Iterable[str]) -> set[str]:
        """Which of these chunks there are."""
        wanted = list(dict.fromkeys(ids))
        found: set[str] = set()
        for first in range(0, len(wanted), 500):
            part = wanted[first : first + 500]
            rows = self._all(
                "SELECT id FROM chunk WHERE collection = ? "
                f"AND id IN ({', '.join('?' * len(part))})",
                collection,
                *part,
            )
            found.update(row[0] for row in rows)
        return found

    def elsewhere(self, collection: str, ids: Iterable[str]) -> set[str]:
        """Which of these chunks are in another collection and not in this one."""
        wanted = set(ids) - self.present(collection, ids)
        found: set[str] = set()
        for identifier in sorted(wanted):
            if self._all("SELECT 1 FROM chunk WHERE id = ? LIMIT 1", identifier):
                found.add(identifier)
        return found

    def stale_texts(self, collection: str) -> list[str]:
        """Indexed texts that no chunk has any more, and that were not yet forgotten."""
        rows = self._all(
            "SELECT text FROM stale_text s WHERE collection = ? AND NOT EXISTS (SELECT 1 FROM "
            "chunk c WHERE c.collection = s.collection AND c.indexed_text = s.text)",
            collection,
        )
        return [row[0] for row in rows]

    def forget_stale(self, collection: str) -> None:
        """Note that the stale texts are forgotten everywhere."""
        with self._transaction() as db:
            db.execute("DELETE FROM stale_text WHERE collection = ?", (collection,))


def _as(kind: type[R], columns: str, row: Sequence[Any]) -> R:
    """A row as a record whose attributes are called like its columns."""
    names = [name.strip() for name in columns.split(",")]
    return kind(**dict(zip(names, row, strict=True)))
