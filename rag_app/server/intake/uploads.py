"""Uploaded documents: kept as files, ingested in the background, told about file by file.

An upload is a file of the user's from the moment it is stored, in `uploads/COLLECTION` of the
data folder. What a stopped server had not ingested yet is ingested when it starts again.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rag_app.errors import StoreError, UnknownDocumentError
from rag_app.index.records import DocumentRecord
from rag_app.index.store import Store
from rag_app.ingest.document import ParseFailure
from rag_app.ingest.formats import KINDS, check_type
from rag_app.ingest.ingestion import document_id, ingest_into
from rag_app.ingest.report import IngestReport, Progress
from rag_app.names import check_name
from rag_app.server.collections import Collections
from rag_app.server.intake.quotas import Quotas
from rag_app.server.shapes import document_ref
from rankgate.errors import InputError, RankgateError

logger = logging.getLogger("rankgate.server")

_REMEMBERED = 200
_AT_ONCE = 8  # files, and then whoever else waits has a turn
_TRIES = 2  # at a file during which the server ended
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f/\\:*?\"<>|\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)


@dataclass(slots=True, kw_only=True)
class FileState:
    """One file of an upload.

    Attributes:
        state: queued, running, done or failed.
        reason: why it failed, a short code; "" where it did not.
        detail: why, in a sentence; for a file that is done, what should be known about it.
    """

    name: str
    state: str = "queued"
    reason: str = ""
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class Job:
    """One upload.

    Attributes:
        state: queued, running, done (every file is through, well or not).
        chunks: passages written so far.
    """

    id: str
    collection: str
    files: list[FileState] = field(default_factory=list)
    state: str = "queued"
    chunks: int = 0


class _Stopping(Exception):
    """The server closes while files are being ingested; the next one goes on."""


class Uploads:
    """Takes files in, and sees that they are ingested. Thread-safe."""

    def __init__(self, collections: Collections) -> None:
        self.collections = collections
        self.folder = Path(collections.settings.data_dir) / "uploads"
        self._quotas = Quotas(collections, self.folder)
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def job(self, identifier: str) -> Job | None:
        """A job since the server started; None where it is not known (any more)."""
        with self._lock:
            return self._jobs.get(identifier)

    def resume(self) -> None:
        """Finish what an earlier server did not: ingest what came, forget what was deleted."""
        if not self.folder.is_dir():
            return
        for folder in sorted(p for p in self.folder.iterdir() if p.is_dir()):
            try:
                check_name(folder.name)
            except InputError:
                logger.warning("%s is not the folder of a collection; passed over", folder)
                continue
            for part in folder.glob(".*.part"):
                part.unlink(missing_ok=True)
            for gone in folder.glob(".*.gone"):  # deleted; `_forget_deleted` does the rest
                gone.unlink(missing_ok=True)
            files = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
            job = self._new(folder.name, [FileState(name=p.name) for p in files])
            given_up = [path for path in files if _tries(path) >= _TRIES]
            self._start(
                job,
                [path for path in files if path not in given_up],
                first=partial(self._again, job=job, given_up=given_up),
            )

    def _again(self, store: Store, job: Job, given_up: Sequence[Path]) -> None:
        self._forget_deleted(store)
        states = {file.name: file for file in job.files}
        for path in given_up:
            detail = f"the server ended {_TRIES} times while it was read; upload another version"
            _fail(states[path.name], "given_up", detail)
            logger.error("%s is given up: %s", path, detail)
            real = path.resolve()
            store.manifest.note(
                store.collection,
                DocumentRecord(
                    id=document_id(real, store.data_dir),
                    source=path.as_posix(),
                    path=real.as_posix(),
                    found_at=path.absolute().as_posix(),
                    kind="",
                    state="failed",
                    error=f"given_up: {detail}",
                ),
            )

    def take(self, collection: str, files: Sequence[tuple[str, bytes]], *, owner: str = "") -> Job:
        """Keep files and have them ingested; a file of the same name is replaced.

        Args:
            collection: made where there is none.
            files: name as the browser gave it, and content.
            owner: whose turn it takes among those that upload.

        Returns:
            The job; files that cannot be read at all have failed in it already.

        Raises:
            QuotaError: the owner has as much as the settings allow; nothing is kept.
        """
        check_name(collection)
        folder = self.folder / collection
        names = [safe_name(given) for given, _ in files]
        self._quotas.take(owner, collection, names, sum(len(content) for _, content in files))
        folder.mkdir(parents=True, exist_ok=True)
        states: list[FileState] = []
        paths: list[Path] = []
        for given, content in files:
            name = safe_name(given)
            state = FileState(name=name)
            states.append(state)
            try:
                if any(path.name == name for path in paths):
                    raise ParseFailure("twice", "another file of this upload has the same name")
                _check(name, content)
            except ParseFailure as exc:
                state.state, state.reason, state.detail = "failed", exc.reason, exc.detail
                continue
            # Hidden until it is whole, so that no restart ingests half of it.
            part = folder / f".{secrets.token_hex(8)}.part"
            try:
                part.write_bytes(content)
                if (folder / name).exists():
                    state.detail = "in place of the earlier file of this name"
                part.replace(folder / name)
                _note_tries(folder / name, 0)
            except OSError as exc:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                logger.error("an upload cannot be kept in %s: %s", folder, exc)
                _fail(state, "not_kept", "it cannot be kept: the server's disk refuses it")
                continue
            paths.append(folder / name)
        job = self._new(collection, states)
        if paths:
            self._start(job, paths, owner=owner)
        else:
            job.state = "done"
        return job

    def remove(self, store: Store, refs: Sequence[str]) -> list[DocumentRecord]:
        """Delete documents; their files too where they were uploaded. In the writer's thread.

        Args:
            refs: of `document_ref`.

        Raises:
            UnknownDocumentError: one is not there; none is deleted then.
            StoreError: a file cannot be deleted; its document stays.
        """
        known = {document_ref(d.id): d for d in store.manifest.documents(store.collection)}
        if not known.keys() >= set(refs):
            raise UnknownDocumentError(f"no such document in {store.collection!r}")
        records = [known[ref] for ref in dict.fromkeys(refs)]
        # The files first: a server that is killed in between forgets the rest when it starts.
        aside: dict[str, tuple[Path, Path]] = {}
        for record in records:
            path = Path(record.path)
            if self._uploaded(store, record) and path.is_file():
                aside[record.id] = path, path.with_name(f".{secrets.token_hex(8)}.gone")
                try:
                    path.replace(aside[record.id][1])
                except OSError as exc:
                    raise StoreError(
                        f"{path} cannot be deleted ({exc.strerror}): see that its disk is not "
                        "read-only"
                    ) from exc
        try:
            store.remove([record.id for record in records])
            store.settle()
        finally:
            # What is still to be found, such as on a full disk, has its file again.
            left = {d.id for d in store.manifest.documents(store.collection)}
            for identifier, (path, gone) in aside.items():
                if identifier in left:
                    gone.replace(path)
                else:
                    gone.unlink(missing_ok=True)
                    _note_tries(path, 0)
        return records

    def _uploaded(self, store: Store, record: DocumentRecord) -> bool:
        return Path(record.path).is_relative_to((self.folder / store.collection).resolve())

    def _forget_deleted(self, store: Store) -> None:
        records = store.manifest.documents(store.collection)
        gone = [r.id for r in records if self._uploaded(store, r) and not Path(r.path).is_file()]
        if gone:
            store.remove(gone)
            store.settle()

    def _new(self, collection: str, files: list[FileState]) -> Job:
        job = Job(id=secrets.token_hex(8), collection=collection, files=files)
        with self._lock:
            self._jobs[job.id] = job
            while len(self._jobs) > _REMEMBERED:
                self._jobs.popitem(last=False)
        return job

    def _start(
        self,
        job: Job,
        paths: Sequence[Path],
        *,
        owner: str = "",
        first: Callable[[Store], None] | None = None,
    ) -> None:
        def work(store: Store) -> None:
            if first is not None:
                first(store)
            left = list(paths)
            while left and not self.collections.closing:
                others = self.collections.let_through()
                part = left[: 1 if others else _AT_ONCE]
                del left[: len(part)]
                self._ingest(store, job, part)
                if left and others:
                    self._start(job, left, owner=owner)
                    return
            if not left:
                job.state = "done"

        def look(done: Future[None]) -> None:
            # What `_ingest` does not see: the collection itself could not be opened.
            error = None if done.cancelled() else done.exception()
            if error is not None:
                logger.error("upload job %s failed", job.id, exc_info=error)
                _fail_all(job, error)

        written = self.collections.write(job.collection, work, owner=owner)
        written.add_done_callback(look)

    def _progress(self, job: Job, before: int, begun: set[str], progress: Progress) -> None:
        job.chunks = before + progress.chunks
        if self.collections.closing:
            raise _Stopping
        self.collections.let_through()
        if progress.source and progress.source not in begun:
            begun.add(progress.source)
            path = Path(progress.source)
            _note_tries(path, _tries(path) + 1)

    def _ingest(self, store: Store, job: Job, paths: Sequence[Path]) -> None:
        names = {path.name for path in paths}
        waiting = {f.name: f for f in job.files if f.state == "queued" and f.name in names}
        told = partial(self._progress, job, job.chunks, set())
        job.state = "running"
        for file in waiting.values():
            file.state = "running"

        try:
            # One file that was deleted meanwhile must not stop the others.
            there = [p for p in paths if p.is_file()]
            for path in paths:
                if path not in there:
                    _fail(waiting[path.name], "unreadable", "the file was deleted meanwhile")
            if there:
                report = ingest_into(store, there, progress=told)
                # Deleted while it was being read: put back by the write that went on.
                self._forget_deleted(store)
                self._tell(store, report, waiting, there)
        except _Stopping:
            store.settle()
            for file in waiting.values():
                file.state = "queued"
        except Exception as exc:
            logger.exception("upload job %s failed", job.id)
            _fail_all(job, exc)
        finally:
            for path in paths:
                _note_tries(path, 0)
            through = all(f.state in ("done", "failed") for f in job.files)
            stays = "queued" if self.collections.closing else "running"
            job.state = "done" if through else stays

    def _tell(
        self,
        store: Store,
        report: IngestReport,
        waiting: dict[str, FileState],
        paths: Sequence[Path],
    ) -> None:
        failed = {Path(f.source).name: f for f in report.failed}
        indexed = {d.id for d in store.documents() if d.state == "indexed"}
        for path in paths:
            file = waiting[path.name]
            problem = failed.get(path.name)
            if problem is not None:
                kept = " An earlier version of it is still there." if problem.kept else ""
                _fail(file, problem.reason, problem.detail + kept)
            elif document_id(path.resolve(), store.data_dir) in indexed:
                file.state = "done"
                said = (file.detail, *report.notes.get(path.as_posix(), ()))
                file.detail = "; ".join(filter(None, said))
            else:
                _fail(file, "failed", "it is not in the index; try again")


def _noted(path: Path) -> Path:
    return path.with_name(f".{path.name}.tries")


def _tries(path: Path) -> int:
    """How often an upload was begun and, as nobody took the note away, the server ended in it."""
    try:
        return int(_noted(path).read_text("ascii"))
    except (OSError, ValueError):
        return 0


def _note_tries(path: Path, tries: int) -> None:
    if tries:
        _noted(path).write_text(str(tries), "ascii")
    else:
        _noted(path).unlink(missing_ok=True)


def _fail(file: FileState, reason: str, detail: str) -> None:
    file.state, file.reason, file.detail = "failed", reason, detail


def _fail_all(job: Job, error: BaseException) -> None:
    """Tell of a failure that is no file's own; its words may name folders of the server."""
    reason = "failed" if isinstance(error, RankgateError) else "internal"
    for file in job.files:
        if file.state in ("queued", "running"):
            _fail(file, reason, f"not ingested ({type(error).__name__}); the server's log has more")
    job.state = "done"


def _check(name: str, content: bytes) -> None:
    kind = KINDS.get(Path(name).suffix.lower())
    if kind is None:
        raise ParseFailure(
            "unsupported", f"{Path(name).suffix or 'no ending'}: read are {', '.join(KINDS)}"
        )
    check_type(kind, content)


def safe_name(given: str) -> str:
    """A file name without folders, control characters and surprises; never empty.

    A name that had to be changed ends with a mark of what it was, so that two names never
    become one.
    """
    base = given.replace("\\", "/").rsplit("/", 1)[-1]
    name = _UNSAFE.sub("_", base).strip(" .")
    stem, dot, ending = name.rpartition(".")
    if not dot:
        stem, ending = name, ""
    # 255 bytes is what file systems take; other alphabets need up to four a letter.
    stem = _cut(stem, 150)
    ending = f".{ending[:20]}" if dot else ""
    if f"{stem}{ending}" == base:
        return base
    mark = hashlib.sha256(base.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_cut(stem, 150 - 9)}~{mark}{ending}"


def _cut(stem: str, size: int) -> str:
    return stem.encode()[:size].decode("utf-8", "ignore").strip(" ._") or "document"
