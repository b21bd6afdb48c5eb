"""`rankgate search`: what was found, before and after reranking, with every score."""

from __future__ import annotations

from typing import Annotated

import typer

from rag_app.cli.options import ForceOption, JsonOption, TopNOption, Where
from rag_app.cli.render import Told, busy, print_json, print_trace
from rankgate.cli import grouped

_EPILOG = "Exit codes: 0 ok, also where everything was refused; 2 wrong usage, setting or file."
_REASONS = {
    "below_floor": "below the floor",
    "beyond_top_n": "beyond top_n",
    "refused": "refused",
}


def search(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show; --json has all.")] = 15,
    force: ForceOption = None,
    top_n: TopNOption = None,
    *,
    where: Where,
) -> None:
    """Show the candidates of a question before and after reranking."""
    settings = where.settings(top_n=top_n)
    from rag_app.served import answering

    with answering(settings) as answer, busy("Searching"):
        found = answer(question, force=force, top_n=top_n, search=True)
    if as_json:
        rows = found["candidates"]
        print_json({"question": question, "passages": rows, "trace": found["trace"]})
        return
    _print_table(found, limit)
    print_trace(found, full=True)


def _print_table(found: Told, limit: int) -> None:
    """The passages in final order; a line below says how many were left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rag_app.ask.result import where

    table = Table(box=None, pad_edge=False)
    for name in ("after", "before", "relevance", "raw", "dense", "bm25"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    table.add_column("passage", overflow="ellipsis", no_wrap=True)
    passages = found["candidates"]
    for p in passages[:limit]:
        table.add_row(
            str(p["after"]),
            str(p["before"]),
            *(_number(p[name]) for name in ("relevance_score", "raw_score", "dense", "bm25")),
            "yes" if p["kept"] else f"no: {_REASONS[p['dropped']]}",
            Text(where(p)),
            style=None if p["kept"] else "dim",
        )
    # A pipe has no width of its own; there nothing is cut.
    console = Console(highlight=False)
    Console(highlight=False, width=console.width if console.is_terminal else 200).print(table)
    if len(passages) > limit:
        typer.echo(f"... and {len(passages) - limit} more (--limit, --json)")
    typer.echo("")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search", epilog=_EPILOG)(grouped(search))
