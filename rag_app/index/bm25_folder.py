"""The BM25 index of a collection on disk: loaded while it is the manifest's, else built anew.

What it was built from stands beside it as a fingerprint, so that opening it reads no passage, and
a checksum of its files, so that a flipped bit is no wrong score.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from rag_app.errors import StoreError
from rankgate.errors import ConfigError
from rankgate.retrieve import Analyser, BM25Index

logger = logging.getLogger("rankgate")

_SUM = "crc32"


def fingerprint(ids: Iterable[str]) -> str:
    """Hash of the sorted chunk ids; an id stands for its chunk's content too."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def built_bm25(
    folder: Path, passages: Sequence[tuple[str, str]], *, analyser: Analyser
) -> BM25Index:
    """The index over exactly these passages: the one on disk, or a new one that is kept there.

    Args:
        folder: where it is kept; its parent must exist, and holds nothing but such folders.
        passages: (id, indexed text), in the order that decides ties.

    Raises:
        StoreError: it cannot be written.
    """
    wanted = fingerprint(identifier for identifier, _ in passages)
    # What a writer left behind that was killed while saving.
    for leftover in folder.parent.glob(".*"):
        shutil.rmtree(leftover, ignore_errors=True)
    kept = kept_bm25(folder, wanted, analyser=analyser)
    if kept is not None:
        return kept
    built = BM25Index.build(passages, analyser=analyser)
    try:
        built.save(folder, extra={"fingerprint": wanted})
        (folder / _SUM).write_text(_checksum(folder), "ascii")  # without it, it is built anew
    except OSError as exc:
        raise StoreError(
            f"the BM25 index in {folder} cannot be written ({exc.strerror or exc}): see that its "
            "disk is neither full nor read-only; what opens the folder next finishes it"
        ) from exc
    return built


def _checksum(folder: Path) -> str:
    """CRC-32 of all files, some milliseconds for 10,000 passages."""
    found = 0
    for file in sorted(folder.iterdir()):
        if file.name != _SUM:
            with file.open("rb") as stream:
                while part := stream.read(1 << 20):
                    found = zlib.crc32(part, found)
    return f"{found:08x}"


def kept_bm25(folder: Path, wanted: str, *, analyser: Analyser) -> BM25Index | None:
    """The index on disk; None where it is damaged, or over other passages."""
    loaded = _loaded(folder, wanted)
    return loaded if loaded is not None and loaded.analyser == analyser else None


def _loaded(folder: Path, wanted: str) -> BM25Index | None:
    """The index on disk, if it is sound and over the wanted passages."""
    if not folder.exists():
        return None
    try:
        if BM25Index.read_meta(folder)["extra"]["fingerprint"] != wanted:
            return None
        if _checksum(folder) != (folder / _SUM).read_text("ascii"):
            raise ValueError("it is not what was written")
        return BM25Index.load(folder)
    except (ConfigError, KeyError, TypeError, ValueError, OSError) as exc:
        logger.warning("the BM25 index in %s cannot be used and is built anew: %s", folder, exc)
        return None
