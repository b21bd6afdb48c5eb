"""`rankgate doctor`: is everything there, and is it in order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from rag_app.cli.options import JsonOption, Where
from rag_app.cli.render import busy, print_json
from rankgate.cli import grouped

EXIT_PROBLEMS = 1
_EPILOG = "Exit codes: 0 healthy; 1 at least one problem; 2 a setting or its file is wrong."
_MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
_COLOURS = {"ok": typer.colors.GREEN, "note": typer.colors.YELLOW, "problem": typer.colors.RED}


def doctor(
    as_json: JsonOption = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Put a damaged manifest aside and bring back the copy of the last ingestion. "
            "Documents, uploads, conversations and keys are never touched.",
        ),
    ] = False,
    *,
    where: Where,
) -> None:
    """Check versions, models, settings, policy and index; without --repair changes nothing."""
    settings = where.settings()
    with busy("Looking"):
        from rag_app.checks import diagnose, mend

        checks = [*(mend(settings) if repair else ()), *diagnose(settings)]
    healthy = all(c.verdict != "problem" for c in checks)
    if as_json:
        print_json({"healthy": healthy, "checks": [asdict(c) for c in checks]})
    else:
        for check in checks:
            mark = typer.style(_MARKS[check.verdict], fg=_COLOURS[check.verdict])
            typer.echo(f"{mark}  {check.name:<10} {check.detail}")
        typer.echo("Healthy." if healthy else "Problems were found.")
    if not healthy:
        raise typer.Exit(EXIT_PROBLEMS)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=_EPILOG)(grouped(doctor))
