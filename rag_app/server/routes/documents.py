"""Documents: upload, list, read, delete; and the collections that they are in.

What may have to wait for an index that is being opened waits in a thread of asyncio's own: the
threads of the framework, where every caller's key is looked at, stay free.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import Field

from rag_app.generate.markdown_html import passage_html
from rag_app.index.records import DocumentRecord
from rag_app.index.store import Store
from rag_app.server.access import Keeper, SignedIn, Writer
from rag_app.server.errors import ApiError, invalid
from rag_app.server.keys import Principal
from rag_app.server.shapes import Body, Text, document_ref
from rag_app.server.state import Server, ServerState

router = APIRouter(prefix="/v1", tags=["documents"])
T = TypeVar("T")

_MAX_FILES = 100
_MAX_TEXT = 20_000
# Kinds whose text is Markdown, as their files have it or as their parsers write it.
_RENDERED = frozenset({"md", "html", "docx", "xlsx", "epub"})
# What a browser may be told about a file. Never HTML: an uploaded page must not run here.
_MEDIA = {"pdf": "application/pdf"}
Collection = Annotated[str | None, Query(description="which collection; the usual one if left out")]


@router.get("/collections")
def collections(server: Server, principal: SignedIn) -> dict[str, Any]:
    """The collections that the caller may ask, and how much is in them."""
    usual = server.usual(principal)
    names = principal.visible(server.collections)
    infos = [{**asdict(server.collections.info(n)), "usual": n == usual} for n in names]
    return {"collections": infos}


class Named(Body):
    """A collection by its name."""

    name: Text


@router.post("/collections", status_code=201)
async def create(body: Named, server: Server, principal: Keeper) -> dict[str, Any]:
    """Make an empty collection; this and the next two are for keys that reach all of them."""
    await _written(server, lambda: server.collections.create(body.name))
    return asdict(await asyncio.to_thread(server.collections.info, body.name))


@router.patch("/collections/{name}")
async def rename(name: str, body: Named, server: Server, principal: Keeper) -> dict[str, Any]:
    """Call a collection otherwise; its conversations and the keys for it follow."""
    await _written(server, lambda: server.collections.rename(name, body.name))

    def follow() -> None:
        server.conversations.rename_collection(name, body.name)
        server.access.keys.rename_collection(name, body.name)

    await asyncio.to_thread(follow)
    return asdict(await asyncio.to_thread(server.collections.info, body.name))


@router.delete("/collections/{name}")
async def drop(name: str, server: Server, principal: Keeper) -> dict[str, Any]:
    """Delete a collection with what was uploaded to it; other files stay where they are."""
    await _written(server, lambda: server.collections.drop(name))
    return {"deleted": True, "name": name}


@router.post("/documents", status_code=202)
def upload(
    server: Server,
    principal: Writer,
    files: Annotated[list[UploadFile], File(description="one or several files")],
    collection: Annotated[str | None, Form()] = None,
) -> dict[str, Any]:
    """Take files in. They are ingested in the background: watch `GET /v1/jobs/{id}`.

    A collection that is not there yet is made, if the key reaches it.
    """
    if len(files) > _MAX_FILES:
        raise invalid("files", f"at most {_MAX_FILES} files at once")
    contents = [(f.filename or "document", f.file.read()) for f in files]
    name = server.collection(collection, principal, create=True)
    return asdict(server.uploads.take(name, contents, owner=principal.id))


@router.get("/jobs/{job}")
def job(job: str, server: Server, principal: SignedIn) -> dict[str, Any]:
    """How far an upload is, file by file."""
    found = server.uploads.job(job)
    if found is None or (
        principal.collections is not None and found.collection not in principal.collections
    ):
        raise ApiError(
            404,
            "job_not_found",
            f"there is no job {job!r} since the server started; GET /v1/documents lists what is "
            "there",
        )
    return asdict(found)


@router.get("/documents")
async def documents(
    server: Server,
    principal: SignedIn,
    collection: Collection = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="at most so many")] = 100,
    after: Annotated[str | None, Query(description="`last_id` of the page before")] = None,
) -> dict[str, Any]:
    """Documents of a collection by name, also those that could not be read, with the reason.

    A page of them, as OpenAI's lists are: as long as `has_more` is true, ask again with
    `after` set to `last_id`.
    """

    def read() -> dict[str, Any]:
        name = server.collection(collection, principal)
        store = server.collections.store(name, create=True)
        rows = sorted(store.manifest.documents(name), key=lambda d: (d.shown.casefold(), d.id))
        states = Counter(d.state for d in rows)
        first = 0
        if after is not None:
            place = next((i for i, d in enumerate(rows) if document_ref(d.id) == after), None)
            if place is None:
                raise invalid(
                    "after",
                    "after: this document is not there (any more); begin with the first page",
                )
            first = place + 1
        page = [_shape(server, d, principal) for d in rows[first : first + limit]]
        return {
            "object": "list",
            "collection": name,
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": first + limit < len(rows),
            "counts": {s: states[s] for s in ("indexed", "pending", "failed")},
        }

    return await asyncio.to_thread(read)


@router.get("/documents/{document}/text")
async def text(
    document: str,
    server: Server,
    principal: SignedIn,
    collection: Collection = None,
    start: Annotated[int, Query(ge=0)] = 0,
    end: Annotated[int | None, Query(ge=0)] = None,
    quotes: Annotated[
        str | None, Query(pattern=r"^\d+-\d+(,\d+-\d+)*$", max_length=2000, description="to mark")
    ] = None,
) -> dict[str, Any]:
    """A part of a document's text, by character offsets; sources point into it.

    With `quotes` (such as `120-180,300-310`) a Markdown document's part, of whole lines then, also
    comes rendered, as `html`, in which they stand between U+E000 and U+E001.
    """

    def read() -> dict[str, Any]:
        store = server.collections.store(server.collection(collection, principal))
        record = _record(store, document)
        whole = store.document_text(record.id)
        first = min(start, len(whole))
        last = len(whole) if end is None else min(end, len(whole))
        html = quotes is not None and record.kind in _RENDERED
        if html:
            first = whole.rfind("\n", 0, first) + 1
            last = len(whole) if (line := whole.find("\n", last)) < 0 else line
        last = max(first, min(last, first + _MAX_TEXT))
        shown = {"start": first, "end": last, "length": len(whole), "text": whole[first:last]}
        if html and quotes is not None:
            spans = sorted(tuple(map(int, q.split("-"))) for q in quotes.split(","))
            inside = [(a - first, b - first) for a, b in spans if first <= a < b <= last]
            apart = [q for i, q in enumerate(inside) if i == 0 or inside[i - 1][1] <= q[0]]
            shown["html"] = passage_html(whole[first:last], apart)
        return {**_shape(server, record, principal), **shown}

    return await asyncio.to_thread(read)


@router.get("/documents/{document}/file", response_class=FileResponse)
async def file(
    document: str, server: Server, principal: SignedIn, collection: Collection = None
) -> FileResponse:
    """The file as it is now: PDFs to be shown, everything else to be saved."""

    def find() -> DocumentRecord:
        name = server.collection(collection, principal)
        return _record(server.collections.store(name), document)

    record = await asyncio.to_thread(find)
    path = Path(record.path)

    def there() -> bool:
        # A link that has taken its place may lead anywhere, to this server's secrets too.
        return path.is_file() and path.resolve() == path

    if not await asyncio.to_thread(there):
        raise ApiError(404, "file_gone", f"the file of {record.shown} is not there any more")
    media = _MEDIA.get(record.kind)
    return FileResponse(
        path,
        media_type="application/octet-stream" if media is None else media,
        filename=path.name,
        content_disposition_type="attachment" if media is None else "inline",
    )


class Documents(Body):
    """Documents of a collection, by id."""

    ids: Annotated[list[Text], Field(min_length=1, max_length=1000)]
    collection: Text | None = None


@router.post("/documents/delete")
async def delete_all(body: Documents, server: Server, principal: Writer) -> dict[str, Any]:
    """Several at once, as `DELETE /v1/documents/{id}`; all of them or, if one is missing, none."""
    gone = await _deleted(server, principal, body.collection, body.ids)
    return {"deleted": True, "data": [_shape(server, d, principal) for d in gone]}


@router.delete("/documents/{document}")
async def delete(
    document: str, server: Server, principal: Writer, collection: Collection = None
) -> dict[str, Any]:
    """Take a document out of the index, and delete its file if it was uploaded.

    A file outside the data folder stays where it is; the next `rankgate ingest` of its folder
    brings it back.
    """
    (gone,) = await _deleted(server, principal, collection, [document])
    return {"deleted": True, **_shape(server, gone, principal)}


async def _deleted(
    server: ServerState, principal: Principal, collection: str | None, refs: list[str]
) -> list[DocumentRecord]:
    def queue() -> Future[list[DocumentRecord]]:
        name = server.collection(collection, principal)
        return server.collections.write(
            name, lambda store: server.uploads.remove(store, refs), urgent=True
        )

    return await _written(server, queue)


async def _written(server: ServerState, queue: Callable[[], Future[T]]) -> T:
    """What the writer's thread made of it, if that has time for it now."""
    written = asyncio.wrap_future(await asyncio.to_thread(queue))
    await asyncio.wait((written,), timeout=server.settings.request_timeout_s)
    if not written.done():
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise ApiError(
            504, "timeout", "other documents are being ingested; this is done after them"
        )
    return written.result()


def _record(store: Store, ref: str) -> DocumentRecord:
    for record in store.manifest.documents(store.collection):
        if document_ref(record.id) == ref and record.state != "failed":
            return record
    raise ApiError(404, "document_not_found", f"no such document in {store.collection!r}")


def _shape(server: ServerState, record: DocumentRecord, principal: Principal) -> dict[str, Any]:
    """A document; the whole path of its file for evaluators only."""
    path = Path(record.path)
    try:
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:  # gone, or on a drive that is not there now
        changed = None
    shape = {
        "id": document_ref(record.id),
        "name": record.shown,
        "title": record.title,
        "kind": record.kind,
        "state": record.state,
        "error": record.error,
        "pages": record.pages,
        "passages": record.chunks,
        "bytes": record.size,
        "changed": changed,
        "uploaded": path.is_relative_to(server.uploads.folder.resolve()),
    }
    return {**shape, "path": record.path} if principal.evaluator else shape
