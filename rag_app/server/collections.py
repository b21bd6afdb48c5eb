"""The opened data folder of a server: collections with their pipelines, and one writer.

Any number of threads read. Whatever writes goes through `write`, one after the other in a single
thread, as the store demands; the collection's pipeline is made anew after each.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rag_app.ask.pipeline import Pipeline
from rag_app.ask.scorer import reader_of, scorer_for
from rag_app.errors import StoreError
from rag_app.generate.answer import Generator
from rag_app.index.chroma_server import collection_on_server
from rag_app.index.data_folder import DataFolder
from rag_app.index.store import Store
from rag_app.names import UnknownCollectionError, check_name
from rag_app.server.intake.writer import FairWriter
from rankgate import Scorer
from rankgate.errors import InputError
from rankgate.scorers.build import ScorerName
from rankgate.scorers.wrappers.traits import close

if TYPE_CHECKING:
    from rag_app.index.embeddings import Embedder
    from rag_app.index.records import DocumentRecord, Passage
    from rag_app.index.vectors import VectorIndex
    from rag_app.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionInfo:
    """What a collection holds.

    Attributes:
        passages: what they were cut into; 0 means that there is nothing to answer from yet.
    """

    name: str
    documents: int
    passages: int


@dataclass(slots=True)
class _Opened:
    """A collection, its store opened when it is first needed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    read: float = -math.inf  # when somebody asked for it last
    writing: bool = False
    store: Store | None = None
    pipeline: Pipeline | None = None


class Collections:
    """Opens the data folder and holds it until `close`; a context manager. Thread-safe.

    Args:
        settings: of the application; `collection` is the one that is always there.
        embedder: instead of the settings' own.
        scorer: instead of the settings' own, for every collection.
        generator: instead of the settings' own.
        wait_s: seconds to wait for another holder of the folder.
        most_open: collections that are held open while nobody asks for them; each has files.

    Raises:
        StoreLockedError: another process has the folder.
        StoreError: the folder cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        embedder: Embedder | None = None,
        scorer: Scorer | None = None,
        generator: Generator | None = None,
        wait_s: float = 2.0,
        most_open: int = 32,
    ) -> None:
        self.settings = settings
        self._most_open = most_open
        self._embedder = embedder
        self._scorer = scorer
        # By collection where each has token vectors of its own; None: reads any text alike.
        self._scorers: dict[str | None, Scorer] = {}
        self._readers: list[Scorer | None] = []  # one, once it is known
        self._scorer_lock = threading.Lock()
        self._generator = generator
        self._folder = DataFolder(settings.data_dir, wait_s=wait_s)
        self._lock = threading.Lock()
        self._opened: dict[str, _Opened] = {}
        self._closed = False
        self._writer = FairWriter()

    def __enter__(self) -> Collections:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closing(self) -> bool:
        """Whether a long write should stop where it can."""
        return self._closed

    def close(self) -> None:
        """Let the current write finish, drop those that wait, and let go of the folder."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._writer.close()
        for opened in self._opened.values():
            with opened.lock:
                if opened.store is not None:
                    opened.store.close()
                    opened.store = opened.pipeline = None
        for scorer in (*self._scorers.values(), *self._readers):
            if scorer is not None:
                close(scorer)
        self._folder.close()

    def names(self) -> list[str]:
        """Names of all collections, the settings' own among them, sorted."""
        known = {record.name for record in self._folder.manifest.collections()}
        return sorted(known | {self.settings.collection})

    def info(self, name: str) -> CollectionInfo:
        """What a collection holds.

        Raises:
            UnknownCollectionError: there is none of this name.
        """
        documents = self.documents(name)
        return CollectionInfo(
            name=name,
            documents=sum(d.state == "indexed" for d in documents),
            passages=sum(d.chunks for d in documents if d.state == "indexed"),
        )

    def documents(self, name: str) -> list[DocumentRecord]:
        """Every document of a collection, failed ones included. Opens no index.

        Raises:
            UnknownCollectionError: there is none of this name.
        """
        self._check(name)
        return self._folder.manifest.documents(name)

    def passages(self, name: str, ids: Iterable[str]) -> dict[str, Passage]:
        """The named passages of a collection, by id; unknown ones are absent. Opens no index."""
        return self._folder.manifest.passages(name, ids)

    def store(self, name: str, *, create: bool = False) -> Store:
        """The collection's store, for reading; opened with the first call.

        Args:
            create: make it where there is none.

        Raises:
            UnknownCollectionError: there is none of this name.
            StoreError: it was filled with another embedder, or cannot be opened.
        """
        if not create:
            self._check(name)
        opened = self._entry(name, read=True)
        with opened.lock:
            return self._store(name, opened)

    def pipeline(self, name: str) -> Pipeline:
        """What answers from a collection.

        Raises:
            UnknownCollectionError: there is none of this name.
            EmptyIndexError: it holds nothing yet.
            ConfigError: the policy does not fit it, or it cannot be opened.
        """
        self._check(name)
        opened = self._entry(name, read=True)
        with opened.lock:
            if opened.pipeline is None:
                store = self._store(name, opened)
                scorer = self.scorer(store)
                opened.pipeline = Pipeline(
                    store.settings,
                    store,
                    scorer=scorer,
                    reader=self._reader(),
                    generator=self._generator,
                )
            return opened.pipeline

    def scorer(self, store: Store | None = None) -> Scorer:
        """The scorer of the settings; one for all, unless token vectors of a store serve it.

        It outlives the pipeline, which every write makes anew: what it has cached and what its
        breaker knows stay true.

        Args:
            store: of the collection whose passages are read; None: texts that are in none.

        Raises:
            ConfigError: its model cannot be loaded.
        """
        if self._scorer is not None:
            return self._scorer
        if not ScorerName.parse(self.settings.scorer).reads_tokens:
            store = None
        name = None if store is None else store.collection
        # A lock of its own: loading takes seconds, and nothing else may wait for it.
        with self._scorer_lock:
            if name not in self._scorers:
                tokens = None if store is None else store.token_store
                self._scorers[name] = scorer_for(self.settings, tokens, shared=True)
            return self._scorers[name]

    def _reader(self) -> Scorer | None:
        """Who reads where the policy is unsure; it outlives the pipelines as the scorer does."""
        with self._scorer_lock:
            if not self._readers:
                self._readers.append(reader_of(self.settings, shared=True))
            return self._readers[0]

    def scorer_is_open(self) -> bool:
        """Whether a breaker keeps questions from a scorer that is in use; loads nothing."""
        used = [*self._scorers.values()] if self._scorer is None else [self._scorer]
        return any(bool(getattr(scorer, "is_open", False)) for scorer in used)

    def write(
        self,
        name: str,
        work: Callable[[Store], T],
        *,
        rebuild: bool = False,
        owner: str = "",
        urgent: bool = False,
    ) -> Future[T]:
        """Let `work` write to a collection, after whatever writes before it.

        The collection is made where there is none. Questions go on meanwhile.

        Args:
            rebuild: empty it first, whatever it was filled with.
            owner: whose turn it takes; owners take turns.
            urgent: short; also within a long write, at its next `let_through`.

        Raises:
            InputError: not a name for a collection.
            StoreError: the server is closing.
        """
        check_name(name)
        with self._lock:
            if self._closed:
                raise StoreError("the server is closing and takes no more documents")
            return self._writer.submit(
                lambda: self._written(name, work, rebuild),
                collection=name,
                owner=owner,
                urgent=urgent,
            )

    def let_through(self) -> bool:
        """Let others write within a long write; whether some wait still that cannot be."""
        self._writer.let_through()
        return self._writer.others_wait()

    def _written(self, name: str, work: Callable[[Store], T], rebuild: bool) -> T:
        opened = self._entry(name)
        with opened.lock:
            if rebuild and opened.store is not None:
                opened.store.close()
                opened.store = opened.pipeline = None
            opened.writing = True
            try:
                store = self._store(name, opened, rebuild=rebuild)
            except BaseException:
                opened.writing = False
                raise
        try:
            return work(store)
        finally:
            # Also after a failure: part of it may have been written.
            with opened.lock:
                opened.writing = False
                opened.pipeline = None

    def create(self, name: str) -> Future[None]:
        """Make an empty collection.

        Raises:
            InputError: not a name for one, or there is one of this name.
        """
        self._free(name)
        return self.write(name, lambda store: None)

    def rename(self, old: str, new: str) -> Future[None]:
        """Call a collection otherwise: uploads, passages and vectors stay as they are.

        Raises:
            UnknownCollectionError: there is none of the old name.
            InputError: the new one is not a name, or taken.
        """
        self._check(old)
        self._free(new)

        def renamed() -> None:
            with self._taken_out(old) as vectors:
                on_server = self.settings.chroma_url is not None
                vectors.rename(collection_on_server(self._folder.path, new) if on_server else new)
            self._folder.rename(old, new)
            self.store(new, create=True)  # vectors that a crash has left behind are put back

        return self._writer.submit(renamed, collection=old)

    def drop(self, name: str) -> Future[None]:
        """Delete a collection with its uploads; other files stay where they are.

        Raises:
            UnknownCollectionError: there is none.
        """
        self._check(name)

        def dropped() -> None:
            # The files first: a server that is killed in between ingests what lies there.
            shutil.rmtree(Path(self.settings.data_dir) / "uploads" / name, ignore_errors=True)
            with self._taken_out(name) as vectors:
                vectors.drop()
            self._folder.drop(name)

        return self._writer.submit(dropped, collection=name)

    @contextmanager
    def _taken_out(self, name: str) -> Iterator[VectorIndex]:
        """A collection's vectors; after the block nobody has its files open."""
        opened = self._entry(name)
        with opened.lock:
            store = self._store(name, opened)
            opened.pipeline = None
            try:
                yield store.index
            finally:
                self._shut(name, opened)

    def _free(self, name: str) -> None:
        check_name(name)
        if name in {c.name for c in self._folder.manifest.collections()}:
            raise InputError(f"there is a collection {name!r} already")

    def _check(self, name: str) -> None:
        if name not in self.names():
            raise UnknownCollectionError(f"there is no collection {name!r}")

    def _shut(self, name: str, opened: _Opened) -> None:
        """Let go of a collection's files; its lock is held."""
        store, opened.store, opened.pipeline = opened.store, None, None
        if store is not None:
            store.close()
        with self._scorer_lock:
            scorer = self._scorers.pop(name, None)
        if scorer is not None:
            close(scorer)

    def _make_room(self) -> None:
        """Close collections that no question can still be reading, those longest unread first.

        Raises:
            StoreError: four times as many as are kept open are being read.
        """
        with self._lock:
            held = [(o.read, n, o) for n, o in self._opened.items() if o.store is not None]
        idle = time.monotonic() - self.settings.request_timeout_s - 1.0
        left = len(held)
        for read, name, opened in sorted(held, key=lambda h: h[0]):
            if left < self._most_open or read > idle:
                break
            if opened.lock.acquire(blocking=False):
                try:
                    if not opened.writing and opened.read == read:
                        self._shut(name, opened)
                        left -= 1
                finally:
                    opened.lock.release()
        if left >= 4 * self._most_open:
            raise StoreError(f"{left} collections are being asked; try again in a minute")

    def _entry(self, name: str, *, read: bool = False) -> _Opened:
        with self._lock:
            if self._closed:
                raise StoreError("the server is closing")
            opened = self._opened.setdefault(name, _Opened())
            if read:
                opened.read = time.monotonic()
            return opened

    def _store(self, name: str, opened: _Opened, *, rebuild: bool = False) -> Store:
        if opened.store is None:
            self._make_room()
            opened.store = Store.open(
                self.settings.model_copy(update={"collection": name}),
                embedder=self._embedder,
                folder=self._folder,
                rebuild=rebuild,
            )
        return opened.store
