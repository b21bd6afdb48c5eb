"""`rankgate chat`: question after question, from a terminal or a pipe."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

from rag_app.cli.options import GeneratorOption, JsonOption, TopNOption, Where
from rag_app.cli.render import busy, print_evidence
from rankgate.cli import grouped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rag_app.ask.pipeline import Pipeline
    from rag_app.ask.result import AnswerResult

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
        from rag_app.ask.pipeline import Pipeline
    asked: list[AnswerResult] = []
    failed = 0
    with Pipeline.open(settings) as pipeline:
        if sys.stdin.isatty() and not as_json:
            typer.echo(f"{pipeline.store.count()} passages. Ask, or /new, /history, /quit.")
        for line in _lines(prompt=not as_json):
            if line == "/quit":
                break
            if line == "/new":
                asked.clear()
                typer.echo("A new conversation.", err=as_json)
            elif line == "/history":
                for number, past in enumerate(asked, start=1):
                    typer.echo(f"{number}. {past.question} ({past.status})", err=as_json)
            elif line.startswith("/"):
                typer.echo(f"Unknown command {line}; there are /new, /history and /quit.", err=True)
            elif line:
                asked.append(_answered(pipeline, line, asked, as_json=as_json, trace=trace))
                failed = asked[-1].exit_code
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


def _answered(
    pipeline: Pipeline,
    question: str,
    before: Sequence[AnswerResult],
    *,
    as_json: bool,
    trace: bool,
) -> AnswerResult:
    """Answer one question after those before it, the text as it is written."""
    from rag_app.ask.condense import Exchange
    from rag_app.ask.result import AnswerResult

    history = [
        Exchange(question=b.question, answer="" if b.answer is None else b.answer.text)
        for b in before
    ]
    if as_json:
        result = pipeline.answer(question, history=history)
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False))
        if result.error:
            typer.echo(f"Error: {result.error}", err=True)
        return result
    for event in pipeline.stream(question, history=history, pieces=True):
        if isinstance(event, AnswerResult):
            result = event
        else:
            typer.echo(event, nl=False)
    typer.echo("")
    print_evidence(result, trace=True if trace else None)
    typer.echo("")
    return result


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("chat", epilog=_EPILOG)(grouped(chat))
