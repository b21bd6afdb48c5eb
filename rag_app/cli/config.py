"""`rankgate config show`: every setting, its value, and where that came from."""

from __future__ import annotations

import typer

from rag_app.cli.options import JsonOption, Where
from rag_app.cli.render import print_json
from rankgate.cli import grouped

_EPILOG = "Exit codes: 0 ok; 2 a setting is unknown or wrong (the message names it)."


def show(
    as_json: JsonOption = False,
    *,
    where: Where,
) -> None:
    """Show every setting with its value and origin; secrets are masked."""
    settings = where.settings()
    values, origins = settings.shown(), settings.origins
    if as_json:
        print_json(
            {
                "file": None if settings.file is None else str(settings.file),
                "settings": {
                    name: {"value": value, "origin": origins[name]}
                    for name, value in values.items()
                },
            }
        )
        return
    typer.echo(f"File: {'none' if settings.file is None else settings.file}")
    wide = max(len(name) for name in values)
    shown = {name: "-" if value is None else str(value) for name, value in values.items()}
    column = max(len(value) for value in shown.values())
    for name, value in shown.items():
        note = type(settings).model_fields[name].description
        typer.echo(f"{name:<{wide}}  {value:<{column}}  {origins[name]:<12}  {note}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Look at the settings.", no_args_is_help=True)
    group.command("show", epilog=_EPILOG)(grouped(show))
    app.add_typer(group, name="config")
