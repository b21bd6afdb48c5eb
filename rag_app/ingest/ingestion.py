"""Ingestion: brings a collection to what the files are now, and says what it did."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag_app.errors import NothingToIngestError, ParseError
from rag_app.index.records import DocumentRecord, Entry
from rag_app.index.store import Store
from rag_app.ingest.chunk import Chunker
from rag_app.ingest.document import Limits
from rag_app.ingest.formats import KINDS
from rag_app.ingest.language import not_english
from rag_app.ingest.parser_process import ParserProcess
from rag_app.ingest.report import FailedFile, IngestReport, Progress
from rag_app.ingest.walk import Found, Walk, walk
from rankgate.encoders.locate import MINILM_SHA256

if TYPE_CHECKING:
    from rag_app.index.embeddings import Embedder
    from rag_app.settings import Settings

# A file changed this shortly before it was read may change again within the same tick of the
# file system's clock, so its time proves nothing.
_FRESH_NS = 2_000_000_000
# A store that stays open has its manifest copied this often, and when it is closed.
_COPY_S = 600.0
_ENGLISH_ONLY = (
    "not in English, the one language that all-MiniLM-L6-v2 reads: passages are found by their "
    "words alone, not by their meaning; embedder_path names another encoder"
)


def document_id(path: Path, data_dir: Path) -> str:
    """A document's id; see `rag_app.index.manifest`."""
    home = data_dir.resolve().parent
    return (path.relative_to(home) if path.is_relative_to(home) else path).as_posix()


def ingest(
    paths: Sequence[str | Path],
    settings: Settings,
    *,
    progress: Callable[[Progress], None] | None = None,
    rebuild: bool = False,
    embedder: Embedder | None = None,
    wait_s: float = 2.0,
) -> IngestReport:
    """Bring a collection to what the files are now.

    Unchanged files are not read; changed ones are replaced; documents under a given folder whose
    file is gone are removed. A file that cannot be read is reported, and what was indexed of an
    earlier version stays. Interrupted at any point, the next run finishes the work.

    Args:
        settings: where to, how to cut, and what a file may cost.
        progress: called before each file and after each batch.
        embedder: instead of the settings' own.
        wait_s: seconds to wait for another opener of the data folder.

    Raises:
        NothingToIngestError: the paths lead to nothing that could be read or removed.
        StoreError: the data folder cannot be used, is in use, or was filled differently.
        ConfigError: sizes that do not fit, or no embedder.
    """
    started = time.perf_counter()
    data_dir = Path(settings.data_dir)
    found = walk(paths, exclude=[data_dir])
    manifest_there = (data_dir / "manifest.sqlite").exists()
    if not found.files and (rebuild or not manifest_there):
        raise _nothing(found)
    with Store.open(settings, embedder=embedder, wait_s=wait_s, rebuild=rebuild) as store:
        store.check_chunking()
        return _Ingestion(store, found, progress).run(started)


def ingest_into(
    store: Store,
    paths: Sequence[str | Path],
    *,
    progress: Callable[[Progress], None] | None = None,
    exclude: Sequence[Path] = (),
) -> IngestReport:
    """As `ingest`, into a collection that is open already and stays open.

    Args:
        exclude: folders of which nothing is read; not the data folder, as uploads lie there.

    Raises:
        NothingToIngestError: the paths lead to nothing that could be read or removed.
        StoreMismatchError: the collection was filled with other chunk sizes.
    """
    started = time.perf_counter()
    store.check_chunking()
    report = _Ingestion(store, walk(paths, exclude=exclude), progress).run(started)
    store.keep_copy(after_s=_COPY_S)
    return report


def _nothing(found: Walk) -> NothingToIngestError:
    if found.gone:
        return NothingToIngestError(f"no file or folder at {found.gone[0][1]}")
    passed = ", ".join(f"{len(n)} {why}" for why, n in sorted(found.skipped.items()))
    return NothingToIngestError(
        f"nothing to ingest: no {', '.join(KINDS)} file was found"
        + (f" (passed over: {passed})" if passed else "")
    )


class _Ingestion:
    """One run over one collection."""

    def __init__(
        self, store: Store, found: Walk, progress: Callable[[Progress], None] | None
    ) -> None:
        self.store = store
        self.found = found
        self.settings = store.settings
        self.progress = progress
        self.known = {d.id: d for d in store.manifest.documents(store.collection)}
        self.limits = Limits(
            max_bytes=int(self.settings.max_file_mb * 2**20),
            max_pages=self.settings.max_pages,
            timeout_s=self.settings.parse_timeout_s,
            memory_mb=self.settings.parse_memory_mb,
            max_passages=self.settings.max_passages,
        )
        self.chunker: Chunker | None = None
        self.waiting: list[Entry] = []
        self.done = self.embedded = self.chunks = 0
        self.source = ""
        self.added: list[str] = []
        self.changed: list[str] = []
        self.unchanged: list[str] = []
        self.failed: list[FailedFile] = []
        self.notes: dict[str, tuple[str, ...]] = {}

    def run(self, started: float) -> IngestReport:
        """Do it all."""
        removed = self._gone()
        missing = [source for path, source in self.found.gone if source not in removed.values()]
        if missing and not (self.found.files or self.found.folders or removed):
            raise _nothing(self.found)
        under = any(self._below(d) for d in self.known.values())
        if not (self.found.files or removed or under):
            raise _nothing(self.found)
        self.failed += [
            FailedFile(source=source, reason="unreadable", detail="no such file or folder")
            for source in missing
        ]
        self.failed += [
            FailedFile(source=source, reason="unreadable", detail=f"cannot be listed: {why}")
            for source, why in self.found.unreadable
        ]
        self.store.remove(list(removed))
        with ParserProcess(self.limits) as parser:
            for file in self.found.files:
                self.source = file.source
                self._tell()
                self._one(file, parser)
                self.done += 1
            self._flush()
        moved = self._moved()
        self.store.remove(list(moved))
        removed |= moved
        self.source = ""
        self._tell()
        self.store.settle()
        states = [d.state for d in self.store.manifest.documents(self.store.collection)]
        return IngestReport(
            collection=self.store.collection,
            added=tuple(self.added),
            changed=tuple(self.changed),
            unchanged=tuple(self.unchanged),
            removed=tuple(
                source for gone, source in removed.items() if self.known[gone].state != "failed"
            ),
            failed=tuple(self.failed),
            skipped={why: tuple(names) for why, names in self.found.skipped.items()},
            notes=self.notes,
            documents=states.count("indexed"),
            chunks=self.store.count(),
            embedded=self.embedded,
            seconds=time.perf_counter() - started,
        )

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(
                Progress(
                    done=self.done,
                    total=len(self.found.files),
                    source=self.source,
                    chunks=self.chunks,
                )
            )

    def _below(self, document: DocumentRecord) -> bool:
        """Whether the document is under one of the given folders."""
        return any(
            Path(at).is_relative_to(folder)
            for folder in self.found.folders
            for at in (document.path, document.found_at)
        )

    def _gone(self) -> dict[str, str]:
        """Documents whose file is no more, id to source: under the folders, or named."""
        present = {file.path.as_posix() for file in self.found.files}
        named = {path.as_posix() for path, _ in self.found.gone}
        return {
            d.id: d.source
            for d in self.known.values()
            if d.path not in present
            and (d.path in named or (self._below(d) and self._left(Path(d.found_at))))
        }

    def _left(self, path: Path) -> bool:
        """Whether nothing is there any more, or only by a link that is not followed."""
        return _is_gone(path) or not self.found.refused.isdisjoint((path, *path.parents))

    def _moved(self) -> dict[str, str]:
        """Documents of given folders that are gone and stand elsewhere now, id to source.

        A folder that is gone may only be unmounted; it has moved where half of its documents, by
        name and content, have just been found below another.
        """
        now = self.store.manifest.documents(self.store.collection)
        there = {(d.name, d.sha256) for d in now if d.id not in self.known and d.state == "indexed"}
        homes: dict[Path, list[DocumentRecord]] = {}
        for d in self.known.values() if there else ():
            home = Path(d.found_at.removesuffix(d.name))
            homes.setdefault(home, []).append(d)
        return {
            d.id: d.source
            for home, documents in homes.items()
            if _is_gone(home)
            and 2 * sum((d.name, d.sha256) in there for d in documents) >= len(documents)
            for d in documents
        }

    def _one(self, file: Found, parser: ParserProcess) -> None:
        try:
            # Neither SQLite nor JSON can hold a name that is not Unicode.
            f"{file.path}\n{file.source}".encode()
        except UnicodeEncodeError:
            source = os.fsencode(file.source).decode("utf-8", "replace")
            self.failed.append(
                FailedFile(
                    source=source,
                    reason="unreadable",
                    detail="the file's name is not valid Unicode; rename it",
                )
            )
            return
        identifier = document_id(file.path, self.store.data_dir)
        before = self.known.get(identifier)
        try:
            self._read(file, identifier, before, parser)
        except ParseError as exc:
            if file.kind == "picture" and exc.reason == "no_text" and before is None:
                self.found.skipped["picture without words"].append(file.source)
                return
            self._report(file, identifier, before, exc)

    def _read(
        self, file: Found, identifier: str, before: DocumentRecord | None, parser: ParserProcess
    ) -> None:
        if file.kind is None:
            raise ParseError(
                "unsupported", f"{file.path.suffix or 'no ending'}: read are {', '.join(KINDS)}"
            )
        size, mtime_ns = self._stat(file.path)
        record = DocumentRecord(
            id=identifier,
            source=file.source,
            name=file.name,
            path=file.path.as_posix(),
            found_at=Path(os.path.abspath(file.source)).as_posix(),
            kind=file.kind,
            size=size,
            mtime_ns=mtime_ns,
            pipeline=self.store.pipeline,
        )
        indexed = before is not None and before.state == "indexed"
        if before is not None and indexed and before.pipeline == record.pipeline:
            same = before.size == size and (
                (before.mtime_ns == mtime_ns != -1) or before.sha256 == _sha256(file.path)
            )
            if same:
                self.unchanged.append(file.source)
                current = replace(
                    before,
                    source=record.source,
                    name=record.name,
                    # Another one where the data folder was moved along with the file.
                    path=record.path,
                    found_at=record.found_at,
                    mtime_ns=mtime_ns,
                    error=None,
                )
                if current != before:
                    self.store.manifest.note(self.store.collection, current)
                return
        parsed, chunks = parser.cut(
            file.path,
            file.kind,
            self._chunker(),
            document_id=identifier,
            pipeline=self.store.pipeline,
        )
        record = replace(
            record,
            title=parsed.title,
            sha256=parsed.sha256,
            size=parsed.size,
            pages=parsed.pages,
        )
        (self.changed if indexed else self.added).append(file.source)
        notes = parsed.notes
        if self.store.embedder.sha256 == MINILM_SHA256 and not_english(parsed.text):
            notes = (*notes, _ENGLISH_ONLY)
        if notes:
            self.notes[file.source] = notes
        self.waiting.append(
            Entry(
                document=record,
                text=parsed.text,
                chunks=chunks,
                page_starts=parsed.page_starts,
            )
        )
        if sum(len(entry.chunks) for entry in self.waiting) >= self.settings.batch_size:
            self._flush()

    def _stat(self, path: Path) -> tuple[int, int]:
        try:
            stat = path.stat()
        except OSError as exc:
            raise ParseError("unreadable", f"cannot be read: {exc.strerror or exc}") from exc
        if stat.st_size > self.limits.max_bytes:
            raise ParseError(
                "too_large",
                f"{stat.st_size / 2**20:.1f} MB, allowed are {self.settings.max_file_mb:g} "
                "(max_file_mb)",
            )
        if stat.st_size == 0:
            raise ParseError("empty", "the file has no content")
        fresh = time.time_ns() - stat.st_mtime_ns < _FRESH_NS
        return stat.st_size, -1 if fresh else stat.st_mtime_ns

    def _chunker(self) -> Chunker:
        if self.chunker is None:
            embedder = self.store.embedder
            self.chunker = Chunker(
                embedder.tokenizer,
                chunk_tokens=self.settings.chunk_tokens,
                overlap=self.settings.chunk_overlap,
                max_length=embedder.max_length,
            )
        return self.chunker

    def _report(
        self, file: Found, identifier: str, before: DocumentRecord | None, exc: ParseError
    ) -> None:
        kept = before is not None and before.state == "indexed"
        self.failed.append(
            FailedFile(source=file.source, reason=exc.reason, detail=exc.detail, kept=kept)
        )
        if before is None or not kept:
            before = DocumentRecord(
                id=identifier,
                source=file.source,
                name=file.name,
                path=file.path.as_posix(),
                found_at=Path(os.path.abspath(file.source)).as_posix(),
                kind=file.kind or "",
                state="failed",
            )
        self.store.manifest.note(self.store.collection, replace(before, error=str(exc)))

    def _flush(self) -> None:
        batch, self.waiting = self.waiting, []
        if batch:
            self.embedded += self.store.put(batch, on_encoded=self._count)

    def _count(self, chunks: int) -> None:
        self.chunks += chunks
        self._tell()


def _is_gone(path: Path) -> bool:
    """Whether nothing is there; a folder that may not be entered is not nothing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise ParseError("unreadable", f"cannot be read: {exc.strerror or exc}") from exc
