"""How answers, sources and traces look on a terminal.

An answer is shown from plain data (`AnswerResult.told`), wherever it was made: here, or by the
server that has the data folder open.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

_QUOTE_WIDTH = 300

Told = Mapping[str, Any]


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False))


def without_words(told: Told) -> dict[str, Any]:
    """What `--json` prints of an answer: not what is there for terminals alone."""
    return {k: v for k, v in told.items() if k not in ("candidates", "lines", "exit_code")}


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner on stderr while something takes time; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def print_result(told: Told, *, trace: bool | None = None) -> None:
    """Answer, sources, trace on stdout; the generator's failure on stderr.

    Args:
        trace: True: in full; None: its first line; False: not at all.
    """
    if told["answer"] is not None:
        # Never wrapped by us: whoever searches the output for the refusal must find it.
        typer.echo(told["answer"])
    if told["weak"]:
        typer.echo("\nWeak evidence: read the sources before you rely on this.")
    print_evidence(told, trace=trace)


def print_evidence(told: Told, *, trace: bool | None = None) -> None:
    """What belongs below the answer's text."""
    for sentence in told["unsupported"]:
        typer.echo(f"\nNot found in the sources: {sentence['text']}")
    if told["nearest_topics"]:
        typer.echo("")
        typer.echo("The closest topics are:")
        for topic in told["nearest_topics"]:
            typer.echo(f"  - {topic}")
    if told["sources"]:
        typer.echo("")
        typer.secho("Sources", bold=True)
        for source in told["sources"]:
            _print_source(source)
    elif told["status"] != "refused":
        _print_passages(told)
    if trace is not False:
        typer.echo("")
        print_trace(told, full=bool(trace))
    if told["error"]:
        typer.echo(f"Error: {told['error']}", err=True)


def _print_passages(told: Told) -> None:
    """The passages that were read, where no citation tells which of them matter."""
    from rag_app.ask.result import where

    typer.echo("")
    cited = told["answer"] is not None
    head = "Passages read (the answer cites none)" if cited else "Passages found"
    typer.secho(head, bold=True)
    for row in told["passages"]:
        typer.echo(f"  {row['after']}. {where(row)}")


def print_trace(told: Told, *, full: bool) -> None:
    """What happened, in words; its first line alone unless `full`."""
    for line in told["lines"] if full else told["lines"][:1]:
        typer.secho(line, dim=True)


def _print_source(source: Told) -> None:
    typer.echo(f"  [{source['number']}] {place(source)}")
    for quote in source["quotes"]:
        text = " ".join(quote["text"].split())
        short = text if len(text) <= _QUOTE_WIDTH else text[: _QUOTE_WIDTH - 3] + "..."
        typer.secho(f'      "{short}"', dim=True)


def place(source: Told) -> str:
    """Where a source stands, in one line."""
    from rag_app.ask.result import placed

    found = placed(source["title"], source["heading"])
    details = []
    if source["source"] and source["source"] != source["title"]:
        details.append(source["source"])
    if source["page"] is not None:
        details.append(f"page {source['page']}")
    if source["relevance_score"] is not None:
        details.append(f"relevance {source['relevance_score']:.2f}")
    return f"{found} ({', '.join(details)})" if details else found
