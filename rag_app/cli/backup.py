"""`rankgate backup`: a copy of the data folder, also while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_app.cli.options import Folder, JsonOption
from rag_app.cli.render import busy, print_json
from rankgate.cli import grouped

_EPILOG = (
    "Exit codes: 0 the copy is whole; 2 there is none: no data folder, the target is there "
    "already, or something cannot be read."
)


def backup(
    target: Annotated[
        Path, typer.Argument(help="Folder of the copy; made by this.", show_default=False)
    ],
    vectors: Annotated[
        bool,
        typer.Option(
            "--vectors/--no-vectors",
            help="Copy the kept vectors, too; without, the copy is small and its first opening "
            "embeds everything again.",
        ),
    ] = True,
    as_json: JsonOption = False,
    *,
    folder: Folder,
) -> None:
    """Copy the data folder while whatever uses it goes on.

    To restore, put the copy where the data folder was, under the same name, and start as usual.
    """
    settings = folder.settings()
    from rag_app.index.backup import back_up

    with busy(f"Copying {settings.data_dir}"):
        made = back_up(settings.data_dir, target, vectors=vectors)
    if as_json:
        print_json({"folder": str(made.folder), "files": made.files, "bytes": made.size})
    else:
        typer.echo(f"{made.folder}: {made.files} files, {made.size / 2**20:.1f} MB")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backup", epilog=_EPILOG)(grouped(backup))
