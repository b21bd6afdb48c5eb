"""Ingested collections, opened by whoever keeps them: the entry-point group is their door."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from rankgate.errors import MissingExtraError
from rankgate.profile import Profile
from rankgate.retrieve import Fusion
from rankgate.types import Candidate

GROUP = "rankgate.collections"


class OpenedCollection(Protocol):
    """An opened collection: searched and listed."""

    words: str
    profile: Profile

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """At most k passages, best first, with their scores and metadata."""

    def passages(self) -> Iterable[Candidate]:
        """Every passage with its metadata."""

    def __enter__(self) -> Any:
        """The collection itself."""

    def __exit__(self, *_: object) -> None:
        """Let go of it."""


def open_collection(
    name: str | None, *, data_dir: Path | None = None, fusion: Fusion | None = None
) -> OpenedCollection:
    """Open a collection by its name.

    Args:
        name: None: the one that the settings of the application name.
        data_dir: folder of the index; None: the settings' one.
        fusion: of its lists; None: the default one.

    Raises:
        MissingExtraError: nothing that keeps collections is installed.
        RankgateError: it is not there, or cannot be opened.
    """
    plugins = importlib.metadata.entry_points(group=GROUP)
    if not plugins:
        raise MissingExtraError("an ingested collection under test", "app")
    try:
        opener = min(plugins, key=lambda p: p.name).load()
    except ImportError as exc:
        raise MissingExtraError("an ingested collection under test", "app") from exc
    opened: OpenedCollection = opener(name, data_dir=data_dir, fusion=fusion)
    return opened
