"""What SQLite's failures mean, and the manifest's verified copy that mends one."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from rag_app.errors import StoreError

__all__ = [
    "COPY",
    "MANIFEST",
    "copy_database",
    "keep_copy",
    "quick_check",
    "repair_manifest",
    "restore_lost",
    "worded",
]

logger = logging.getLogger(__name__)

MANIFEST = "manifest.sqlite"
COPY = "manifest.copy.sqlite"


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    """`worded`, and the disk's own errors too."""
    try:
        with worded(path):
            yield
    except OSError as exc:
        raise StoreError(
            f"{path} cannot be written ({exc.strerror or exc}): see that its disk is neither full "
            "nor read-only, and try again"
        ) from exc


@contextmanager
def worded(path: Path) -> Iterator[None]:
    """Errors of the manifest in words that say how to mend them.

    Raises:
        StoreError: in place of any error of SQLite.
    """
    try:
        yield
    except sqlite3.Error as exc:
        said = str(exc)
        if "full" in said:
            how = "cannot be written: its disk is full. Free some space and try again"
        elif "readonly" in said or "unable to open" in said:
            how = f"cannot be used ({said}): look at the rights and the mount of {path.parent}"
        elif isinstance(exc, sqlite3.OperationalError) and "malformed" not in said:
            how = f"cannot be used now ({said}); try again"
        else:
            how = (
                f"is damaged ({said}). `rankgate doctor --repair` puts it aside and brings back "
                "the copy of the last ingestion; documents, uploads, conversations and keys are "
                "untouched"
            )
        raise StoreError(f"the manifest {path} {how}.") from exc


def quick_check(path: Path, how: str = "quick_check") -> str:
    """`ok`, or what SQLite finds wrong in a database, which is only read.

    Args:
        how: `quick_check`, or `integrity_check`, which also compares tables with their indexes.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return str(db.execute(f"PRAGMA {how}").fetchone()[0])
    except sqlite3.Error as exc:
        return str(exc)


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as of one moment, whoever writes to it meanwhile; modes are kept.

    Raises:
        StoreError: the copy is not sound.
        sqlite3.Error: it cannot be read or written.
    """
    target.touch(mode=source.stat().st_mode & 0o777)
    with (
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as original,
        closing(sqlite3.connect(target)) as copy,
    ):
        original.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, with no journal beside it
    verdict = quick_check(target)
    if verdict != "ok":
        raise StoreError(f"{source} is damaged ({verdict}); there is no copy")


def keep_copy(data_dir: Path) -> None:
    """Keep a verified copy of the manifest beside it; one that fails is told in the log alone."""
    part = data_dir / f".{COPY}.part"
    try:
        part.unlink(missing_ok=True)
        copy_database(data_dir / MANIFEST, part)
        part.replace(data_dir / COPY)
    except (OSError, sqlite3.Error, StoreError) as exc:  # such as a full or read-only disk
        with suppress(OSError):
            part.unlink(missing_ok=True)
        logger.warning("no copy of the manifest was kept: %s", exc)


def restore_lost(data_dir: Path) -> bool:
    """Bring the copy back where the manifest is gone or empty, and say whether that was so."""
    manifest, copy = data_dir / MANIFEST, data_dir / COPY
    lost = not manifest.exists() or (manifest.is_file() and manifest.stat().st_size == 0)
    # An empty file with a journal beside it may be one that is just being made.
    if not lost or _journal(manifest).exists() or not copy.is_file() or quick_check(copy) != "ok":
        return False
    with _on_disk(manifest):
        copy_database(copy, manifest)
    logger.warning("%s was lost; the copy of the last ingestion is in its place", manifest)
    return True


def repair_manifest(data_dir: Path) -> str | None:
    """Put a damaged manifest aside and bring the copy back; the caller holds the folder's lock.

    Returns:
        What was done; None where the manifest is sound.
    """
    manifest, copy = data_dir / MANIFEST, data_dir / COPY
    if manifest.is_file() and quick_check(manifest, "integrity_check") == "ok":
        return None
    aside = manifest.with_name(f"{MANIFEST}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    with _on_disk(manifest):
        for path in (manifest, _journal(manifest), manifest.with_name(f"{MANIFEST}-shm")):
            if path.exists():
                os.replace(path, path.with_name(path.name.replace(MANIFEST, aside.name)))
    said = f"the damaged manifest is {aside}"
    if copy.is_file() and quick_check(copy) == "ok":
        with _on_disk(manifest):
            copy_database(copy, manifest)
        return f"{said}; the copy of the last ingestion is in its place"
    return (
        f"{said}; there is no sound copy, so the index is empty: run `rankgate ingest` again "
        "(uploads are read again when the server starts)"
    )


def _journal(manifest: Path) -> Path:
    return manifest.with_name(f"{manifest.name}-wal")
