"""Vectors in Chroma: one collection, in a folder or on a server.

A damaged folder is rebuilt, not fatal. A server is somebody else's: nothing of it is ever
deleted but the passages of this collection.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from rag_app.errors import StoreError
from rag_app.index.chroma_server import collection_on_server, connect, disconnect
from rankgate.retrieve.spaces import space_named

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

    from rag_app.settings import Settings

logger = logging.getLogger("rankgate")

_BATCH = 1000
# Collections whose vectors Chroma keeps loaded, with five files each. Its own bound is a fifth of
# the process's descriptors, which leaves none for anything else.
_LOADED = 32
# Twice Chroma's default: the nearest 50 of a large index come out nearly exact.
_BREADTH = 200
_PROBE_S = 120
_NOTE = "rankgate_made_for"
_FOLDER_ADVICE = (
    "See first that its disk is neither full nor read-only. Of the data folder the folder chroma "
    "alone can be deleted; it is made again when the store is opened next."
)
_PROBE = """
import sys
from pathlib import Path
from rag_app.index.vectors import VectorIndex
VectorIndex.open_plainly(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).close()
"""

FloatArray = npt.NDArray[np.float32]


class VectorIndex:
    """One Chroma collection. The store's lock sees to it that there is no second opener.

    Args:
        client: of a folder or a server; closed with this.
        space: cosine, l2 or ip.
        advice: what to do when Chroma fails; ends every such error.
        close: how the client is closed; None: by its own method.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        space: str,
        *,
        advice: str = _FOLDER_ADVICE,
        close: Callable[[Client], None] | None = None,
    ) -> None:
        self.name = name
        self.space = space
        self._advice = advice
        self._client = client
        self._close = close
        self._collection = self._make()

    @classmethod
    def of(cls, settings: Settings, *, suspect: bool) -> VectorIndex:
        """Open the collection where the settings say: on a server, or in the data folder.

        Args:
            settings: `chroma_url`, `chroma_timeout_s`, `data_dir`, `collection`, `space`.
            suspect: as `open`.

        Raises:
            StoreError: it cannot be opened; the server does not answer.
        """
        folder = Path(settings.data_dir)
        if settings.chroma_url is None:
            return cls.open(folder / "chroma", settings.collection, settings.space, suspect=suspect)
        name = collection_on_server(folder, settings.collection)
        return cls.on_server(
            settings.chroma_url, name, settings.space, timeout_s=settings.chroma_timeout_s
        )

    @classmethod
    def on_server(cls, url: str, name: str, space: str, *, timeout_s: float) -> VectorIndex:
        """Open the collection on a Chroma server, made if it is not there.

        Args:
            space: cosine, l2 or ip.

        Raises:
            StoreError: the server does not answer, or not as Chroma does.
        """
        advice = (
            f"The vectors are on the server {url} (chroma_url): see that it runs and can be "
            "reached. If it has lost them, restart rankgate, which writes them again."
        )
        with _mapped(advice):
            client = connect(url, timeout_s=timeout_s)
            try:
                return cls(client, name, space, advice=advice, close=disconnect)
            except BaseException:
                disconnect(client)
                raise

    @classmethod
    def open(cls, folder: Path, name: str, space: str, *, suspect: bool) -> VectorIndex:
        """Open the collection, made if it is not there.

        What cannot be opened is moved out of the way and made anew, empty: the caller fills
        it again from the manifest.

        Args:
            space: cosine, l2 or ip.
            suspect: whether a writer was killed. A half-written index can crash whoever loads it
                (chroma#7238), so another process tries first.

        Raises:
            StoreError: not even an empty one can be opened.
        """
        why = "it crashes whoever loads it"
        if not suspect or not folder.exists() or _survives(folder, name, space):
            # Twice: a client that failed to start stays registered under its path, and only
            # the second failure makes Chroma forget it.
            for _ in range(2):
                try:
                    return cls.open_plainly(folder, name, space)
                except StoreError as exc:
                    why = str(exc)
        logger.warning("Chroma's folder %s is made anew: %s", folder, why)
        shutil.rmtree(folder, ignore_errors=True)
        return cls.open_plainly(folder, name, space)

    @classmethod
    def open_plainly(cls, folder: Path, name: str, space: str) -> VectorIndex:
        """Open the collection and read a vector from it.

        Raises:
            StoreError: it cannot be opened or read.
        """
        import chromadb
        from chromadb.config import Settings as ChromaSettings

        _bound_open_files()
        with _mapped(_FOLDER_ADVICE):
            # Declared as an interface without `close`.
            client = cast(
                "Client",
                chromadb.PersistentClient(
                    # Chroma knows a folder by its path, and opens files when it needs them: a
                    # relative one is another folder after a change of the working directory.
                    path=str(folder.resolve()),
                    # A project's .env is not Chroma's to read.
                    settings=ChromaSettings(
                        _env_file=None,  # type: ignore[call-arg]
                        anonymized_telemetry=False,
                    ),
                ),
            )
            try:
                index = cls(client, name, space)
                known = index._collection.peek(1)["embeddings"]
                if known is not None and len(known):
                    index.search(np.asarray(known[0], dtype=np.float32), 1)
            except BaseException:
                client.close()
                raise
            return index

    def _make(self) -> Collection:
        return self._client.get_or_create_collection(
            self.name,
            embedding_function=None,
            configuration={
                "hnsw": {
                    "space": space_named(self.space),
                    "ef_construction": _BREADTH,
                    "ef_search": _BREADTH,
                }
            },
        )

    def renew(self) -> None:
        """Find the collection again; made if it is gone, as on a server with a new disk."""
        with _mapped(self._advice):
            self._collection = self._make()

    def count(self) -> int:
        """Number of vectors."""
        with _mapped(self._advice):
            return self._collection.count()

    def ids(self) -> set[str]:
        """Ids of all vectors."""
        found: set[str] = set()
        size = 20 * _BATCH
        while True:
            with _mapped(self._advice):
                page = self._collection.get(include=[], limit=size, offset=len(found))["ids"]
            found.update(page)
            if len(page) < size:
                return found

    def upsert(self, ids: Sequence[str], vectors: FloatArray) -> None:
        """Write (n, d) vectors under n ids."""
        for part in _parts(len(ids)):
            with _mapped(self._advice):
                self._collection.upsert(ids=list(ids[part]), embeddings=vectors[part])

    def delete(self, ids: Sequence[str]) -> None:
        """Delete these; unknown ids are no error."""
        for part in _parts(len(ids)):
            with _mapped(self._advice):
                self._collection.delete(ids=list(ids[part]))

    def search(self, vector: FloatArray, k: int) -> list[tuple[str, float]]:
        """The k nearest: (id, distance in this space), nearest first, ties by id."""
        if k < 1:
            return []
        query = np.asarray(vector, dtype=np.float32).reshape(1, -1)
        with _mapped(self._advice):
            found = self._collection.query(
                query_embeddings=query, n_results=k, include=["distances"]
            )
        distances = found["distances"]
        if distances is None:
            return []
        # A server writes its float32 as short decimals; so they are the same numbers again.
        pairs = zip(found["ids"][0], (float(np.float32(d)) for d in distances[0]), strict=True)
        return sorted(pairs, key=lambda pair: (pair[1], pair[0]))

    def vectors(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """Stored vectors by id; unknown ids are absent."""
        known: dict[str, FloatArray] = {}
        for part in _parts(len(ids)):
            with _mapped(self._advice):
                found = self._collection.get(ids=list(ids[part]), include=["embeddings"])
            rows = found["embeddings"]
            if rows is not None:
                known.update(
                    (i, np.asarray(row, dtype=np.float32))
                    for i, row in zip(found["ids"], rows, strict=True)
                )
        return known

    def empty(self, space: str) -> None:
        """Make the collection anew, for this space."""
        with _mapped(self._advice):
            self._client.delete_collection(self.name)
            self.space = space
            self._collection = self._make()

    def rename(self, name: str) -> None:
        """Call the collection otherwise; nothing else may be asked of this afterwards."""
        with _mapped(self._advice):
            self._collection.modify(name=name)

    def drop(self) -> None:
        """Delete the collection; nothing else may be asked of this afterwards."""
        with _mapped(self._advice):
            self._client.delete_collection(self.name)

    @property
    def stored_space(self) -> str:
        """The space that the collection on disk was made for."""
        return str(self._collection.configuration_json["hnsw"]["space"])

    def note(self, fingerprint: str) -> None:
        """Keep with the vectors for which passages they were made."""
        with _mapped(self._advice):
            self._collection.modify(metadata={_NOTE: fingerprint})

    @property
    def noted(self) -> str | None:
        """What `note` has kept; None where it has not."""
        found = (self._collection.metadata or {}).get(_NOTE)
        return None if found is None else str(found)

    def close(self) -> None:
        """Let go of the files or the connection."""
        if self._close is None:
            self._client.close()
        else:
            self._close(self._client)


@functools.cache
def _bound_open_files() -> None:
    """Keep Chroma from holding all of this process's descriptors; there is no setting for it."""
    from chromadb.api.rust import RustBindingsAPI

    start = RustBindingsAPI.start

    def bounded(api: RustBindingsAPI) -> None:
        api.hnsw_cache_size = min(api.hnsw_cache_size, _LOADED)
        start(api)

    RustBindingsAPI.start = bounded  # type: ignore[assignment, method-assign]


def _parts(n: int) -> Iterator[slice]:
    return (slice(first, first + _BATCH) for first in range(0, n, _BATCH))


@contextmanager
def _mapped(advice: str) -> Iterator[None]:
    """Chroma's errors as ours, ending with what to do."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, StoreError):
        raise
    except BaseException as exc:  # a panic of its native part is no Exception
        what = str(exc).strip().rstrip(".")
        raise StoreError(f"Chroma failed: {type(exc).__name__}: {what}. {advice}") from exc


def _survives(folder: Path, name: str, space: str) -> bool:
    """Whether another process can load the index."""
    home = str(Path(__file__).resolve().parents[2])
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, str(folder), name, space],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdout=output,
                stderr=output,
                timeout=_PROBE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0
