"""`rankgate chat`: question after question, from a terminal or a pipe."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING

import typer

from rag_app.cli.options import GeneratorOption, JsonOption, TopNOption, Where
from rag_app.cli.render import Told, busy, print_evidence, without_words
from rankgate.cli import grouped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rag_app.ask.condense import Exchange

_EPILOG = (
    "A question is understood after those before it, as on the page; /new begins another "
    "conversation. /history lists its questions, /quit or end of input leaves. Nothing is kept on "
    "disk. Exit codes: 0 ok; 2 wrong usage, setting or file; 5 the last answer's generator failed."
)
_PROMPT = "> "


def chat(
    as_json: JsonOption = False,
    trace: bool = typer.Option(False, "--trace/--no-trace", help="Say all of what happened."),
    top_n: TopNOption = None,
    generator: GeneratorOption = None,
    *,
    where: Where,
) -> None:
    """Ask question after question in one conversation; from a pipe, too, one question a line."""
    settings = where.settings(generator=generator, top_n=top_n)
    with busy("Opening the index"):
        from rag_app.served import answering
    asked: list[Told] = []
    failed = 0
    options = {"top_n": top_n, "generator": generator}
    with answering(settings) as answer:
        if sys.stdin.isatty() and not as_json:
            typer.echo("Ask, or /new, /history, /quit.")
        for line in _lines(prompt=not as_json):
            if line == "/quit":
                break
            if line == "/new":
                asked.clear()
                typer.echo("A new conversation.", err=as_json)
            elif line == "/history":
                for number, past in enumerate(asked, start=1):
                    typer.echo(f"{number}. {past['question']} ({past['status']})", err=as_json)
            elif line.startswith("/"):
                typer.echo(f"Unknown command {line}; there are /new, /history and /quit.", err=True)
            elif line:
                ask = partial(answer, line, history=_history(asked), **options)
                asked.append(_answered(ask, as_json=as_json, trace=trace))
                failed = asked[-1]["exit_code"]
    if failed:
        raise typer.Exit(failed)


def _lines(*, prompt: bool) -> Iterator[str]:
    """Lines of the input until its end; a prompt only where somebody sees it."""
    asking = prompt and sys.stdin.isatty()
    while True:
        if asking:
            typer.echo(_PROMPT, nl=False)
        line = sys.stdin.readline()
        if not line:
            if asking:
                typer.echo("")
            return
        yield line.strip()


def _history(asked: Sequence[Told]) -> list[Exchange]:
    from rag_app.ask.condense import Exchange

    return [Exchange(question=b["question"], answer=b["answer"] or "") for b in asked]


def _answered(ask: Callable[..., Told], *, as_json: bool, trace: bool) -> Told:
    """Answer one question, the text as it is written."""
    if as_json:
        told = ask()
        typer.echo(json.dumps(without_words(told), ensure_ascii=False, allow_nan=False))
        if told["error"]:
            typer.echo(f"Error: {told['error']}", err=True)
        return told
    told = ask(write=lambda piece: typer.echo(piece, nl=False))
    typer.echo("")
    print_evidence(told, trace=True if trace else None)
    typer.echo("")
    return told


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("chat", epilog=_EPILOG)(grouped(chat))
