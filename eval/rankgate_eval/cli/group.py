"""`rankgate eval`: a group in which `eval DATA` works beside `eval compare DATA`.

A first argument that is no command is the data set of the hidden default command. So a folder
called `compare` is given as `./compare`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from rankgate_eval.cli import judge
from rankgate_eval.stores import command as export_corpus

DEFAULT = "DATA"
MODULES = ("evaluate", "compare", "check", "end_to_end")
"""Each has `register(group)`; a further command is a further module."""
_HELP = ("-h", "--help")
_EPILOG = (
    "`rankgate eval DATA --out DIR` measures and gives a verdict; its options: rankgate eval DATA "
    "--help. Exit codes: 0 ship, or ship behind the gate; 1 don't ship, or a check failed; 2 "
    "wrong usage, setting or data; 3 not enough data; 4 no fair test of the policy; 70 a "
    "crash of rankgate."
)


class EvalGroup(TyperGroup):
    """Hands a first argument that is no command to the default one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command's name in front where none is given."""
        public = set(self.commands) - {DEFAULT}
        asks_default = len(args) == 2 and args[0] == DEFAULT and args[1] in _HELP
        if args and args[0] not in public and args[0] not in _HELP and not asks_default:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


class DefaultCommand(TyperCommand):
    """The default command: `DATA` stands for its name and its argument at once."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage without the argument, which the name has said."""
        return [p for p in super().collect_usage_pieces(ctx) if p.strip("{}") != DEFAULT]


def register(app: typer.Typer) -> None:
    """Add the group, and `export-corpus` and `judge`, which make data for it."""
    group = typer.Typer(
        cls=EvalGroup,
        help="Measure on your own data whether a reranker helps, and decide.",
        epilog=_EPILOG,
        no_args_is_help=True,
        subcommand_metavar="DATA [OPTIONS] | COMMAND [ARGS]...",
    )
    for name in MODULES:
        module = f"rankgate_eval.cli.{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(group)
    app.add_typer(group, name="eval")
    export_corpus.register(app)
    judge.register(app)
