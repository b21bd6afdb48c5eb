"""A copy of the data folder, taken while whatever uses it goes on.

SQLite's files are copied by SQLite, so that each is of one moment. Chroma's and BM25's indexes are
left out: whoever opens the copy makes them again from the manifest.
"""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from rag_app.errors import StoreError
from rag_app.index.manifest_copy import COPY, MANIFEST, copy_database
from rankgate.errors import InputError

# Made again by whoever opens the copy, or only of this machine.
_LEFT_OUT = frozenset({"chroma", "bm25", "lock", "lock.pid", "server.json", COPY})
_VECTORS = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was copied.

    Attributes:
        size: of all of them, in bytes.
    """

    folder: Path
    files: int
    size: int


def back_up(data_dir: Path, target: Path, *, vectors: bool = True) -> Backup:
    """Copy a data folder; the copy is there as a whole or not at all.

    Args:
        data_dir: the data folder; a server or an ingestion may be using it.
        target: folder of the copy; must not be there yet.
        vectors: copy the kept token vectors, the largest part; without them whoever opens the
            copy embeds every passage again.

    Raises:
        InputError: `data_dir` is no data folder; `target` is there already, or inside of it.
        StoreError: something cannot be read or written, or is damaged.
    """
    if not (data_dir / MANIFEST).is_file():
        raise InputError(f"{data_dir} is no data folder: it has no {MANIFEST}")
    if target.exists():
        raise InputError(f"{target} is there already; name a folder that is not")
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise InputError(f"{target} is inside the data folder; name a folder elsewhere")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        # For its owner alone: questions, documents, and the secret that signs cookies.
        part.mkdir(parents=True, mode=0o700)
        # Databases first: a file that is uploaded meanwhile is then one too many, and is
        # ingested when the copy is opened, instead of one too few.
        found = sorted(_files(data_dir, vectors=vectors), key=lambda p: p.suffix != ".sqlite")
        for relative in found:
            _copy(data_dir / relative, part / relative)
        copied = [p for p in part.rglob("*") if p.is_file()]
        size = sum(p.stat().st_size for p in copied)
        part.replace(target)
    except (OSError, sqlite3.Error) as exc:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"the copy of {data_dir} to {target} failed: {exc}") from exc
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Backup(folder=target, files=len(copied), size=size)


def _files(data_dir: Path, *, vectors: bool) -> list[Path]:
    left_out = _LEFT_OUT if vectors else _LEFT_OUT | {_VECTORS}
    found = []
    for path in data_dir.rglob("*"):
        relative = path.relative_to(data_dir)
        unfinished = any(p.startswith(".") for p in relative.parts)
        if relative.parts[0] in left_out or unfinished or not path.is_file():
            continue
        # Of SQLite's own: their content comes with the database.
        if not path.name.endswith((".sqlite-wal", ".sqlite-shm", ".sqlite-journal")):
            found.append(relative)
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".sqlite":
        try:
            shutil.copy2(source, target)
        except FileNotFoundError:  # deleted meanwhile
            if source.exists():
                raise
        return
    copy_database(source, target)
