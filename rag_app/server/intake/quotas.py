"""How much of what is uploaded is whose, and how much one key may have."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from rag_app.errors import QuotaError
from rag_app.server.collections import Collections


class Quotas:
    """Remembers who uploaded which file, in `owners.json` beside them. Thread-safe."""

    def __init__(self, collections: Collections, folder: Path) -> None:
        self._collections = collections
        self._folder = folder
        self._file = folder / "owners.json"
        self._lock = threading.Lock()

    def take(self, owner: str, collection: str, names: Sequence[str], size: int) -> None:
        """Note files that an owner is about to upload.

        Args:
            owner: id of a key; "local" and "" (nobody's) are not limited.
            size: of all of them, in bytes.

        Raises:
            QuotaError: together with what the owner has, it would be more than is allowed.
        """
        if owner in ("", "local"):
            return
        with self._lock:
            owners = self._read()
            has = [
                (c, n) for c, files in owners.items() for n, who in files.items() if who == owner
            ]
            self._check(owner, collection, has, size)
            owners.setdefault(collection, {}).update(dict.fromkeys(names, owner))
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._file.with_name(".owners.part")
            part.write_text(json.dumps(owners, ensure_ascii=False), "utf-8")
            os.replace(part, self._file)

    def _check(
        self, owner: str, collection: str, has: Sequence[tuple[str, str]], size: int
    ) -> None:
        settings = self._collections.settings
        there = [(c, p) for c, p in ((c, self._folder / c / n) for c, n in has) if p.is_file()]
        used = {c for c, _ in there} | {collection}
        most = settings.quota_collections
        if most is not None and len(used) > most:
            raise _over(owner, f"uploads in {most} collections", "quota_collections")
        kept = sum(p.stat().st_size for _, p in there)
        if settings.quota_mb is not None and kept + size > settings.quota_mb * 2**20:
            has_mb = (
                f"{kept / 2**20:.1f} of {settings.quota_mb:g} MB, and this is {size / 2**20:.1f}"
            )
            raise _over(owner, has_mb, "quota_mb")
        if settings.quota_passages is not None:
            paths = {p.resolve().as_posix() for _, p in there}
            known = self._collections.names()
            documents = [d for c in used if c in known for d in self._collections.documents(c)]
            passages = sum(d.chunks for d in documents if d.path in paths)
            if passages >= settings.quota_passages:
                has_passages = f"{passages:,} of {settings.quota_passages:,} passages"
                raise _over(owner, has_passages, "quota_passages")

    def _read(self) -> dict[str, dict[str, str]]:
        """By collection, whose each file is; of those that are there."""
        try:
            found: dict[str, dict[str, str]] = json.loads(self._file.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as exc:
            raise QuotaError(
                f"{self._file} is damaged, so nobody knows who uploaded what: bring it back from "
                "a backup, or delete it to begin counting anew"
            ) from exc
        there = {
            c: {n: who for n, who in files.items() if (self._folder / c / n).is_file()}
            for c, files in found.items()
        }
        return {c: files for c, files in there.items() if files}


def _over(owner: str, has: str, setting: str) -> QuotaError:
    return QuotaError(f"key {owner} has {has} ({setting}): delete documents first")
