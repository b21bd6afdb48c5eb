"""The store: manifest, Chroma, BM25 and token vectors of one collection, kept consistent.

Whatever is written goes to the manifest first; the indexes follow, and are compared with it
whenever the store is opened. So a process killed at any instruction loses and doubles nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rag_app.errors import StoreError, UnknownDocumentError
from rag_app.index.agreement import agreed_record, check_chunking, chunking_of
from rag_app.index.bm25_folder import built_bm25, fingerprint, kept_bm25
from rag_app.index.data_folder import DataFolder
from rag_app.index.embeddings import Embedder, Identity, identify, load_embedder, pipeline_version
from rag_app.index.records import DocumentRecord, Entry
from rag_app.index.vectors import VectorIndex
from rag_app.names import check_name
from rankgate.encoders.packing import packed
from rankgate.encoders.token_store import TokenStore
from rankgate.profile import Profile
from rankgate.retrieve import Analyser, cosine_from_distance
from rankgate.retrieve.spaces import space_named

if TYPE_CHECKING:
    from rag_app.settings import Settings

logger = logging.getLogger("rankgate")

FloatArray = npt.NDArray[np.float32]


class Store:
    """One opened collection. Use `Store.open`; a context manager.

    Reading is thread-safe; writing is for one thread.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        folder: DataFolder,
        owns_folder: bool,
        embedder: Embedder | None,
        identity: Identity,
        rebuild: bool,
    ) -> None:
        self.settings = settings
        self.data_dir = Path(settings.data_dir)
        self.collection = settings.collection
        self.space = space_named(settings.space)
        self.identity = identity
        self.manifest = folder.manifest
        self._folder = folder
        self._owns_folder = owns_folder
        self._embedder = embedder
        self._analyser = Analyser()
        self._tokens: TokenStore | None = None
        self._vectors: VectorIndex | None = None
        self._closed = False
        self._behind = False
        self._record = agreed_record(
            folder.manifest,
            settings,
            identity,
            dimension=lambda: self.embedder.dimension,
            rebuild=rebuild,
        )
        self._reconcile()

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        embedder: Embedder | None = None,
        wait_s: float = 2.0,
        rebuild: bool = False,
        folder: DataFolder | None = None,
    ) -> Store:
        """Open the collection of the settings, made if it is not there, and make it consistent.

        Args:
            settings: `data_dir`, `collection`, `space`, `embedder_path` and the chunk sizes.
            embedder: instead of the settings' own.
            wait_s: seconds to wait for another opener of the data folder.
            rebuild: empty the collection first, whatever it was filled with.
            folder: the opened data folder, which stays open when the store is closed; several
                collections may share it. None: the store opens it and holds it.

        Raises:
            StoreLockedError: in use by another process.
            StoreMismatchError: filled with another embedder or space.
            StoreError: the folder cannot be used, or its manifest is damaged.
            InputError: a bad collection name.
            ConfigError: no embedder.
        """
        check_name(settings.collection)
        identity = identify(settings, embedder)
        held = DataFolder(Path(settings.data_dir), wait_s=wait_s) if folder is None else folder
        try:
            return cls(
                settings,
                folder=held,
                owns_folder=folder is None,
                embedder=embedder,
                identity=identity,
                rebuild=rebuild,
            )
        except BaseException as exc:
            if folder is None:
                held.close()
            if isinstance(exc, OSError):
                raise StoreError(f"the data folder {held.path} cannot be used: {exc}") from exc
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and lock; closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        self._close_indexes()
        if self._owns_folder:
            self._folder.close()

    def _close_indexes(self) -> None:
        for part in (self._vectors, self._tokens):
            if part is not None:
                part.close()
        self._vectors = self._tokens = None

    # Reading

    @property
    def embedder(self) -> Embedder:
        """The encoder that embedded the passages; loaded when it is first asked for."""
        if self._embedder is None:
            self._embedder = load_embedder(self.settings)
        return self._embedder

    @property
    def token_store(self) -> TokenStore:
        """Token vectors of the indexed texts, so that the reranker encodes only the query."""
        if self._tokens is None:
            self._tokens = TokenStore(
                self.data_dir / "tokens" / f"{self.collection}.sqlite",
                encoder=f"{self.identity.name}@{self.identity.sha256}",
                dimension=self._record.dimension,
            )
        return self._tokens

    @property
    def chunking(self) -> str:
        """`200/40`: how the settings want documents cut."""
        return chunking_of(self.settings)

    @property
    def pipeline(self) -> str:
        """Version of everything that shapes chunks, under these settings."""
        return pipeline_version(chunking=self.chunking, embedder=self.identity)

    def check_chunking(self) -> None:
        """Refuse to mix chunks of two sizes in one collection.

        Raises:
            StoreMismatchError: it was filled with other sizes than the settings'.
        """
        check_chunking(self._record, self.settings)

    def profile(self) -> Profile:
        """What a policy has to be fitted for to fit this collection."""
        return Profile(
            embedder=self._record.embedder,
            space=self._record.space,
            analyser=self.bm25.analyser.name,
            chunking=self._record.chunking,
        )

    def count(self) -> int:
        """Number of passages."""
        return len(self.bm25)

    def check(self) -> None:
        """Raise StoreError where Chroma does not answer, or has lost the collection."""
        self.index.count()

    def dense(self, vector: FloatArray, k: int) -> dict[str, float]:
        """The k nearest passages: id to cosine in [-1, 1], best first."""
        return {
            identifier: cosine_from_distance(distance, self.space)
            for identifier, distance in self.index.search(vector, k)
        }

    def cosines(self, vector: FloatArray, ids: Sequence[str]) -> list[float]:
        """Cosines of the named passages, in that order, from their stored vectors.

        Raises:
            UnknownDocumentError: an id is not in the collection.
        """
        known = self.index.vectors(ids)
        query = np.asarray(vector, dtype=np.float32)
        length = float(np.linalg.norm(query))
        result = []
        for identifier in ids:
            row = known.get(identifier)
            if row is None:
                raise self._unknown(identifier)
            scale = length * float(np.linalg.norm(row))
            cosine = float(row @ query) / scale if scale > 0 else 0.0
            result.append(max(-1.0, min(1.0, cosine)))
        return result

    def present(self, ids: Sequence[str]) -> set[str]:
        """Which of these passages there are at this moment."""
        return self.manifest.present(self.collection, ids)

    def fetch(self, ids: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        """Indexed text and metadata of the named passages, in that order.

        `indexed_text[body_offset:]` is `document_text(document_id)[start:end]`. `page` is
        absent where there are no pages.

        Raises:
            UnknownDocumentError: an id is not in the collection.
        """
        known = self.manifest.passages(self.collection, ids)
        for missing in (i for i in ids if i not in known):
            raise self._unknown(missing)
        return [(known[i].indexed_text, known[i].metadata()) for i in ids]

    def documents(self) -> list[DocumentRecord]:
        """Every document that is indexed, by id."""
        return [d for d in self.manifest.documents(self.collection) if d.state != "failed"]

    def document_text(self, document_id: str) -> str:
        """A document's text, into which its passages' offsets point.

        Raises:
            UnknownDocumentError: no such document.
        """
        return self.manifest.text(self.collection, document_id)

    def _unknown(self, identifier: str) -> UnknownDocumentError:
        return UnknownDocumentError(f"no passage {identifier!r} in collection {self.collection!r}")

    @property
    def index(self) -> VectorIndex:
        """The vectors."""
        if self._vectors is None:
            raise StoreError("the store is closed; open it again with Store.open")
        return self._vectors

    # Writing

    def put(
        self, entries: Sequence[Entry], *, on_encoded: Callable[[int], None] | None = None
    ) -> int:
        """Write documents, replacing what they were; the number of newly encoded chunks.

        Args:
            on_encoded: told how many chunks have just been encoded.
        """
        texts = {c.id: c.indexed_text for entry in entries for c in entry.chunks}
        # The long part comes first and leaves only cached vectors behind if it is cut short.
        vectors, encoded = self._embedded(list(texts.values()), on_encoded)
        self._catch_up()
        self._behind = True
        gone = self.manifest.replace(self.collection, entries)
        self._upsert(texts, vectors)
        self.index.delete(sorted(gone))
        self.manifest.mark_indexed(self.collection)
        self._behind = False
        return encoded

    def remove(self, document_ids: Sequence[str]) -> None:
        """Delete documents with everything made from them."""
        if document_ids:
            self._catch_up()
            self._behind = True
            self.index.delete(sorted(self.manifest.remove(self.collection, document_ids)))
            self._behind = False

    def settle(self) -> None:
        """Finish a series of writes: BM25 follows, and nothing is left over."""
        self._catch_up()
        stale = self.manifest.stale_texts(self.collection)
        if stale:
            self.token_store.delete_texts(stale)
        self.manifest.forget_stale(self.collection)
        passages = self.manifest.texts(self.collection)
        self.bm25 = built_bm25(self._bm25_folder, passages, analyser=self._analyser)
        made_for = fingerprint(identifier for identifier, _ in passages)
        self.index.note(made_for)
        # Last: whoever is killed before finds a collection that has to be looked through.
        self.manifest.set_settled(self.collection, made_for)
        self._record = replace(self._record, dirty=False)

    def keep_copy(self, *, after_s: float) -> None:
        """Keep a copy of the manifest that `rankgate doctor --repair` can bring back."""
        self._folder.keep_copy(after_s=after_s)

    @property
    def _bm25_folder(self) -> Path:
        return self.data_dir / "bm25" / self.collection

    def _embedded(
        self, texts: Sequence[str], on_encoded: Callable[[int], None] | None = None
    ) -> tuple[dict[str, FloatArray], int]:
        """Pooled vectors by text: kept ones, and fresh ones, whose token vectors are kept."""
        unique = list(dict.fromkeys(texts))
        size = max(1, self.settings.batch_size)
        found: dict[str, FloatArray] = {}
        encoded = 0
        for first in range(0, len(unique), size):
            part = unique[first : first + size]
            known = self.token_store.get_many(part)
            absent = [t for t in part if t not in known]
            if absent:
                read = zip(absent, self.embedder.encode(absent), strict=True)
                fresh = {text: packed(vectors) for text, vectors in read}
                self.token_store.put_many(fresh)
                known.update(fresh)
                encoded += len(absent)
            found |= {t: known[t].pooled for t in part}
            if on_encoded is not None:
                on_encoded(len(part))
        return found, encoded

    def _upsert(self, texts: dict[str, str], vectors: dict[str, FloatArray]) -> None:
        if texts:
            rows = np.stack([vectors[text] for text in texts.values()])
            self.index.upsert(list(texts), rows)

    # Making consistent

    def _reconcile(self) -> None:
        """Make Chroma, BM25 and the token vectors hold what the manifest says."""
        self._vectors = VectorIndex.of(self.settings, suspect=self._record.dirty)
        try:
            if self._agrees():
                return
            # An emptied one, too: Chroma keeps the dimension of vectors that are gone.
            if self.index.stored_space != self.space or not self.manifest.count(self.collection):
                self.index.empty(self.space)
            self._level()
            self.settle()
        except BaseException:
            self._close_indexes()
            raise

    def _agrees(self) -> bool:
        """Whether all were made for the same chunks, by what each has noted; BM25 is open then.

        Otherwise everything is read and compared, which takes longer the more there is.
        """
        made_for = self.manifest.settled(self.collection)
        count = self.manifest.count(self.collection)
        if made_for is None or count == 0 or self.index.stored_space != self.space:
            return False
        if self.index.noted != made_for or self.index.count() != count:
            return False
        kept = kept_bm25(self._bm25_folder, made_for, analyser=self._analyser)
        if kept is None or len(kept) != count:
            return False
        self.bm25 = kept
        return True

    def _level(self) -> None:
        """Make Chroma hold what the manifest says."""
        have, want = self.index.ids(), self.manifest.chunk_ids(self.collection)
        self.index.delete(sorted(have.difference(want)))
        missing = [identifier for identifier in want if identifier not in have]
        if missing:
            logger.warning("%d passages are missing in Chroma and are put back", len(missing))
        for first in range(0, len(missing), 1000):
            part = missing[first : first + 1000]
            known = self.manifest.passages(self.collection, part)
            texts = {i: known[i].indexed_text for i in part}
            self._upsert(texts, self._embedded(list(texts.values()))[0])
        self.manifest.mark_indexed(self.collection)
        self._behind = False

    def _catch_up(self) -> None:
        """Finish what an earlier write of this process began and Chroma refused.

        Without it the next write would note those documents as indexed, too.
        """
        if self._behind:
            self.index.renew()
            self._level()
