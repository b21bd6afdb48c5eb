"""`rankgate documents`, `rankgate collections`: list, rename, delete; also while a server runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_app.cli.options import Folder, JsonOption, Where
from rag_app.cli.render import print_json
from rag_app.index.private import private_files
from rankgate.cli import grouped

if TYPE_CHECKING:
    from rag_app.server.collections import Collections
    from rag_app.settings import Settings

collections = typer.Typer(no_args_is_help=True, help="Collections: list, create, rename, delete.")
documents = typer.Typer(no_args_is_help=True, help="Documents of a collection: list, delete.")
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def _through(
    settings: Settings,
    method: str,
    path: str,
    here: Callable[[Collections], Any],
    body: dict[str, Any] | None = None,
) -> Any:
    """What the running server answers, or what `here` makes of the folder where none runs."""
    from rag_app.served import Served

    server = Served.find(settings.data_dir)
    if server is not None:
        return server.request(method, path, body)
    from rag_app.server.collections import Collections

    with private_files(), Collections(settings) as opened:
        return here(opened)


@collections.command("list")
@grouped
def listed(as_json: JsonOption = False, *, folder: Folder) -> None:
    """List the collections, and how much is in them."""
    rows = _collections(folder.settings())
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(f"{row['name']:30}  {_size(row)}")


def _collections(settings: Settings) -> list[dict[str, Any]]:
    def here(opened: Collections) -> Any:
        return {"collections": [asdict(opened.info(name)) for name in opened.names()]}

    found: list[dict[str, Any]] = _through(settings, "GET", "/v1/collections", here)["collections"]
    return found


def _size(row: dict[str, Any]) -> str:
    return f"{row['documents']} documents, {row['passages']} passages"


@collections.command("create")
@grouped
def create(
    name: Annotated[str, typer.Argument(help="3 to 63 letters, digits, dots, dashes.")],
    *,
    folder: Folder,
) -> None:
    """Make an empty collection."""
    _through(
        folder.settings(),
        "POST",
        "/v1/collections",
        lambda c: c.create(name).result(),
        {"name": name},
    )


@collections.command("rename")
@grouped
def rename(
    old: Annotated[str, typer.Argument(help="As it is called now.")],
    new: Annotated[str, typer.Argument(help="As it shall be called.")],
    *,
    folder: Folder,
) -> None:
    """Call a collection otherwise; conversations and keys follow, nothing is read again."""
    settings = folder.settings()

    def here(opened: Collections) -> None:
        from rag_app.ask.conversations import Conversations
        from rag_app.server.keys import KeyStore

        opened.rename(old, new).result()
        KeyStore(settings.data_dir).rename_collection(old, new)
        if (settings.data_dir / "conversations.sqlite").exists():
            kept = Conversations(settings.data_dir)
            kept.rename_collection(old, new)
            kept.close()

    _through(settings, "PATCH", f"/v1/collections/{old}", here, {"name": new})


@collections.command("delete")
@grouped
def drop(
    name: Annotated[str, typer.Argument(help="Which one.")],
    yes: YesOption = False,
    *,
    folder: Folder,
) -> None:
    """Delete a collection with its uploads; files elsewhere stay where they are."""
    settings = folder.settings()
    if not yes:
        known = [r for r in _collections(settings) if r["name"] == name]
        if known:  # else it is told below that there is none
            typer.confirm(f"Delete collection {name} ({_size(known[0])})?", abort=True)
    _through(settings, "DELETE", f"/v1/collections/{name}", lambda c: c.drop(name).result())


def _documents(settings: Settings) -> list[dict[str, Any]]:
    def here(opened: Collections) -> Any:
        from rag_app.server.shapes import document_ref

        rows = opened.documents(settings.collection)
        return {
            "data": [
                {
                    "id": document_ref(d.id),
                    "name": d.shown,
                    "state": d.state,
                    "error": d.error,
                    "passages": d.chunks,
                    "bytes": d.size,
                    "path": d.path,
                }
                for d in rows
            ]
        }

    found: list[dict[str, Any]] = []
    page: dict[str, Any] = {"has_more": True}
    while page.get("has_more"):
        path = f"/v1/documents?collection={settings.collection}&limit=1000"
        last = page.get("last_id")
        page = _through(settings, "GET", path + (f"&after={last}" if last else ""), here)
        found += page["data"]
    return found


@documents.command("list")
@grouped
def show(as_json: JsonOption = False, *, where: Where) -> None:
    """List the documents of a collection, also those that could not be read."""
    settings = where.settings()
    rows = _documents(settings)
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo(f"No document in {settings.collection}. Run: rankgate ingest FOLDER", err=True)
    for row in rows:
        size = f"{row['bytes'] / 1024:.0f} kB"
        state = row["error"] or f"{row['passages']} passages"
        typer.echo(f"{row['id'][:8]}  {size:>9}  {row['name']}  ({state})")


@documents.command("delete")
@grouped
def delete(
    names: Annotated[list[str], typer.Argument(help="Names or ids, as `documents list` has them.")],
    yes: YesOption = False,
    *,
    where: Where,
) -> None:
    """Take documents out of the index; files that were uploaded are deleted, others stay."""
    settings = where.settings()
    from rankgate.errors import InputError

    rows = _documents(settings)
    ids: list[str] = []
    for name in names:
        fits = [r for r in rows if name in (r["name"], r["path"], r["id"], r["id"][:8])]
        if len(fits) != 1:
            many = "no document" if not fits else f"{len(fits)} documents"
            raise InputError(f"there are {many} {name!r}; `rankgate documents list` has ids")
        ids.append(fits[0]["id"])
    if not yes:
        typer.confirm(f"Delete {len(ids)} of {len(rows)} documents?", abort=True)

    def here(opened: Collections) -> None:
        from rag_app.server.intake.uploads import Uploads

        uploads = Uploads(opened)
        opened.write(settings.collection, lambda s: uploads.remove(s, ids)).result()

    body = {"ids": ids, "collection": settings.collection}
    _through(settings, "POST", "/v1/documents/delete", here, body)
    typer.echo(f"{len(ids)} deleted.", err=True)
