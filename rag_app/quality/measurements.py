"""SQLite files of measurements: they hold no word of a question, and may be thrown away."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from rag_app.errors import StoreError
from rag_app.index.private import private_folder


def opened(path: Path, *, version: int, schema: str) -> sqlite3.Connection:
    """Open or make such a file; the connection may be used by several threads, one at a time.

    Raises:
        StoreError: the file cannot be used, or another version wrote it.
    """
    try:
        private_folder(path.parent)
        db = sqlite3.connect(path, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found not in (0, version):
            db.close()
            raise StoreError(
                f"{path} has version {found}, this rankgate reads {version}. Install the "
                "rankgate that wrote it, or move the file away to begin anew."
            )
        db.executescript(schema)
        db.execute(f"PRAGMA user_version={version}")
        db.commit()
    except (sqlite3.Error, OSError) as exc:
        raise StoreError(
            f"{path} cannot be used: {exc}. It holds measurements only: move it away to begin anew."
        ) from exc
    return db
