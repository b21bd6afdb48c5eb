"""`rankgate ask`: one question, one answer with its sources."""

from __future__ import annotations

from typing import Annotated

import typer

from rag_app.cli.options import ForceOption, GeneratorOption, JsonOption, TopNOption, Where
from rag_app.cli.render import busy, print_json, print_result, without_words
from rankgate.cli import grouped

EXIT_REFUSED = 3
_EPILOG = (
    "Exit codes: 0 answered, or refused because the documents do not say (a right answer, too); "
    "2 wrong usage, setting or file; 3 refused, only with --exit-code; 5 the generator failed "
    "(the passages found are shown all the same)."
)


def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    as_json: JsonOption = False,
    trace: Annotated[
        bool | None,
        typer.Option("--trace/--no-trace", help="Say all, or nothing, of what happened."),
    ] = None,
    force: ForceOption = None,
    top_n: TopNOption = None,
    generator: GeneratorOption = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 3 where the question is refused.")
    ] = False,
    *,
    where: Where,
) -> None:
    """Answer a question from the ingested documents, with sources."""
    settings = where.settings(generator=generator, top_n=top_n)
    from rag_app.served import answering

    with answering(settings) as answer, busy("Searching"):
        told = answer(question, force=force, top_n=top_n, generator=generator)
    if as_json:
        print_json(without_words(told))
        if told["error"]:
            typer.echo(f"Error: {told['error']}", err=True)
    else:
        print_result(told, trace=trace)
    if told["exit_code"]:
        raise typer.Exit(told["exit_code"])
    if exit_code and told["status"] == "refused":
        raise typer.Exit(EXIT_REFUSED)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ask", epilog=_EPILOG)(grouped(ask))
