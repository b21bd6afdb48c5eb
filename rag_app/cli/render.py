"""How answers, sources and traces look on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rag_app.ask.result import AnswerResult
    from rag_app.generate.answer import Source
    from rankgate.types import Passage

_QUOTE_WIDTH = 300


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False))


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner on stderr while something takes time; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def print_result(result: AnswerResult, *, trace: bool | None = None) -> None:
    """Answer, sources, trace on stdout; the generator's failure on stderr.

    Args:
        trace: True: in full; None: its first line; False: not at all.
    """
    if result.answer is not None:
        # Never wrapped by us: whoever searches the output for the refusal must find it.
        typer.echo(result.answer.text)
    if result.weak:
        typer.echo("\nWeak evidence: read the sources before you rely on this.")
    print_evidence(result, trace=trace)


def print_evidence(result: AnswerResult, *, trace: bool | None = None) -> None:
    """What belongs below the answer's text."""
    for sentence in result.unsupported:
        typer.echo(f"\nNot found in the sources: {sentence['text']}")
    if result.status == "refused" and result.nearest_topics:
        typer.echo("")
        typer.echo("The closest topics are:")
        for topic in result.nearest_topics:
            typer.echo(f"  - {topic}")
    if result.answer is not None and result.answer.sources:
        typer.echo("")
        typer.secho("Sources", bold=True)
        for source in result.answer.sources:
            _print_source(source)
    elif result.status != "refused":
        _print_passages(result.passages, cited=result.answer is not None)
    if trace is not False:
        typer.echo("")
        print_trace(result, full=bool(trace))
    if result.error:
        typer.echo(f"Error: {result.error}", err=True)


def _print_passages(passages: tuple[Passage, ...], *, cited: bool) -> None:
    """The passages that were read, where no citation tells which of them matter."""
    from rag_app.ask.result import where

    typer.echo("")
    head = "Passages read (the answer cites none)" if cited else "Passages found"
    typer.secho(head, bold=True)
    for passage in passages:
        typer.echo(f"  {passage.rank}. {where(passage)}")


def print_trace(result: AnswerResult, *, full: bool) -> None:
    """What happened, in words; its first line alone unless `full`."""
    lines = result.lines()
    for line in lines if full else lines[:1]:
        typer.secho(line, dim=True)


def _print_source(source: Source) -> None:
    typer.echo(f"  [{source.number}] {place(source)}")
    for quote in source.quotes:
        text = " ".join(quote.text.split())
        short = text if len(text) <= _QUOTE_WIDTH else text[: _QUOTE_WIDTH - 3] + "..."
        typer.secho(f'      "{short}"', dim=True)


def place(source: Source) -> str:
    """Where a source stands, in one line."""
    from rag_app.ask.result import placed

    found = placed(source.title, source.heading)
    details = []
    if source.source and source.source != source.title:
        details.append(source.source)
    if source.page is not None:
        details.append(f"page {source.page}")
    if source.relevance_score is not None:
        details.append(f"relevance {source.relevance_score:.2f}")
    return f"{found} ({', '.join(details)})" if details else found
