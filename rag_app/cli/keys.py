"""`rankgate keys`: API keys of the server."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from rag_app.cli.options import Folder, JsonOption
from rag_app.cli.render import print_json
from rankgate.cli import grouped

if TYPE_CHECKING:
    from rag_app.server.keys import Principal

group = typer.Typer(no_args_is_help=True, help="API keys of the server: make, list, revoke.")


@group.command("create")
@grouped
def create(
    name: Annotated[str, typer.Option(help="Whose key it is.")],
    collections: Annotated[
        str | None, typer.Option(help="What it may ask, separated by commas.")
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all-collections", help="It may ask all, those that come later too."),
    ] = False,
    role: Annotated[
        str,
        typer.Option(
            help="user; reader, who uploads and deletes nothing; or evaluator, who also sees "
            "scores and traces."
        ),
    ] = "user",
    as_json: JsonOption = False,
    *,
    folder: Folder,
) -> None:
    """Make a key and show it, once. With the first one, the server lets nobody in without."""
    settings = folder.settings()
    from rag_app.server.keys import KeyStore, Role
    from rankgate.errors import InputError

    try:
        wanted = Role(role)
    except ValueError as exc:
        raise InputError(f"--role must be reader, user or evaluator, got {role!r}") from exc
    if collections is None and not everything:
        if not sys.stdin.isatty():
            raise InputError("name --collections A,B that it may ask, or give --all-collections")
        typer.confirm("It may ask all collections, those that come later too?", abort=True)
    if collections is not None and everything:
        raise InputError("--collections or --all-collections, not both")
    named = None
    if collections is not None:
        named = [c.strip() for c in collections.split(",") if c.strip()]
    record, key = KeyStore(settings.data_dir).create(name=name, role=wanted, collections=named)
    if as_json:
        print_json({**_row(record), "key": key})
        return
    typer.echo(key)
    typer.echo(
        f"Key {record.id} of {record.name}, {record.role.value}, {_reach(record)}. It is not kept "
        "and cannot be shown again.",
        err=True,
    )


@group.command("list")
@grouped
def show(as_json: JsonOption = False, *, folder: Folder) -> None:
    """List the keys, without their secrets."""
    settings = folder.settings()
    from rag_app.server.keys import KeyStore

    keys = KeyStore(settings.data_dir)
    records = keys.all()
    if as_json:
        print_json([_row(r) for r in records])
        return
    if keys.lost:
        typer.echo("No key any more: the server lets nobody in. Make one: rankgate keys create")
    elif not records:
        typer.echo("No key: the server listens on this machine only, and lets everybody in.")
    for r in records:
        typer.echo(f"{r.id}  {r.role.value:9}  {r.created:%Y-%m-%d}  {r.name}  ({_reach(r)})")


@group.command("revoke")
@grouped
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, as `rankgate keys list` shows it.")],
    *,
    folder: Folder,
) -> None:
    """Make a key worthless, from the next request on."""
    settings = folder.settings()
    from rag_app.server.keys import KeyStore

    keys = KeyStore(settings.data_dir)
    keys.revoke(key)
    typer.echo(f"Key {key} is revoked.", err=True)
    if not keys.any():
        typer.echo(
            "That was the last one: no server over this folder lets anybody in any more. Make "
            "another with `rankgate keys create`.",
            err=True,
        )


def _reach(record: Principal) -> str:
    return "all collections" if record.collections is None else ", ".join(record.collections)


def _row(record: Principal) -> dict[str, object]:
    return {**asdict(record), "created": record.created.isoformat()}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="keys")
