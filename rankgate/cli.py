"""The one command line, `rankgate`; every command is a plugin.

The engine knows no command. Whoever is installed above it registers one through the
entry-point group `rankgate.commands`, whose values are functions `register(app)`. So the
engine imports nothing that stands above it, and an engine alone still has a command line.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from rankgate.errors import RankgateError, RankgateWarning

__all__ = ["EXIT_INTERRUPTED", "EXIT_USAGE", "GROUP", "build_app", "grouped", "main"]

GROUP = "rankgate.commands"
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_EPILOG = (
    "Exit codes: 0 ok; 1 a check found problems; 2 wrong usage, setting or file; "
    "3 refused (only where a command is asked to tell); 4 some files could not be read; "
    "5 the generator failed; 130 interrupted."
)


class _Commands(TyperGroup):
    """Turns what rankgate raises on purpose into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an expected error becomes a sentence on stderr.

        An error may carry its own `exit_code`; 2 is the usual one.
        """
        try:
            return super().invoke(ctx)
        except RankgateError as exc:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"Error: {exc}", err=True)
            raise typer.Exit(getattr(exc, "exit_code", EXIT_USAGE)) from exc
        except KeyboardInterrupt as exc:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from exc


def _show_version(wanted: bool) -> None:
    if wanted:
        from rankgate import __version__

        typer.echo(f"rankgate {__version__}")
        raise typer.Exit


def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log lines.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Reranking that knows when not to."""
    if debug:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    usual = warnings.showwarning

    def shown(message: Warning | str, category: type[Warning], *where: Any, **on: Any) -> None:
        if issubclass(category, RankgateWarning):  # a sentence, without its place in the code
            typer.echo(f"Warning: {message}", err=True)
        else:
            usual(message, category, *where, **on)

    warnings.showwarning = shown


def build_app(plugins: Iterable[importlib.metadata.EntryPoint] | None = None) -> typer.Typer:
    """The command line with every command that is installed.

    Args:
        plugins: where the commands come from; None: the entry points of this environment. One
            that cannot be loaded is reported on stderr, and the others still work.
    """
    app = typer.Typer(
        cls=_Commands,
        name="rankgate",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    found = importlib.metadata.entry_points(group=GROUP) if plugins is None else plugins
    for plugin in sorted(found, key=lambda p: p.name):
        try:
            plugin.load()(app)
        except Exception as exc:  # a plugin is foreign code and may raise anything
            typer.echo(
                f"Warning: the command {plugin.name!r} ({plugin.value}) could not be loaded: "
                f"{type(exc).__name__}: {exc}",
                err=True,
            )
    return app


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """A command in which each parameter that is a dataclass stands for the options it lists.

    Typer reads options from a function's signature, so sharing them means copying them. Here the
    signature gets the dataclass's fields (`Annotated` with their option) in the parameter's
    place, and the function one object made of what was given.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {}
    shown: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind):
            groups[parameter.name] = kind
            shown += _fields_shown(kind)
        else:
            shown.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def command(**given: Any) -> None:
        made = {
            name: kind(**{f.name: given.pop(f.name) for f in fields(kind)})
            for name, kind in groups.items()
        }
        function(**given, **made)

    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in shown}
    return command


def _fields_shown(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]


def main() -> None:
    """Run the command line; ends the process with the command's exit code."""
    build_app()()


if __name__ == "__main__":
    main()
