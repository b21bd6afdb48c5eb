"""`rankgate demo`, run by `make demo`: the project's own docs, four questions, four fates."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rag_app.cli.options import Folder, JsonOption
from rag_app.cli.render import Told, busy, print_evidence, print_json, without_words
from rag_app.index.private import private_files
from rankgate.cli import grouped
from rankgate.errors import InputError

_EPILOG = "Exit codes: 0 ok; 2 there is no docs folder here, or a setting is wrong."


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoQuestion:
    """One question of the demo, and what it is there to show."""

    shows: str
    question: str


QUESTIONS = (
    DemoQuestion(
        shows="Skipped by the gate: the first stage is right already",
        question="What does exit code 130 mean?",
    ),
    DemoQuestion(
        shows="Reranked: the order of the passages changes",
        question="Are my documents ever sent to another company's computers?",
    ),
    DemoQuestion(
        shows="Several sources: each part of the question has its own",
        question=(
            "How are two ranked lists merged into one, and what happens to candidates beyond K?"
        ),
    ),
    DemoQuestion(
        shows="Refused: the documents do not say",
        question="Which team won the football world cup in 1998?",
    ),
)


def demo(
    docs: Annotated[Path, typer.Option(help="Folder to ingest.")] = Path("docs"),
    as_json: JsonOption = False,
    *,
    folder: Folder,
) -> None:
    """Ingest the project's documentation and ask it four questions."""
    if not docs.is_dir():
        raise InputError(
            f"there is no folder {docs} here; run the demo in the project's folder, or name "
            "another one with --docs"
        )
    settings = folder.settings(generator="extractive")
    with busy(f"Reading {docs}"):
        from rag_app.ask.pipeline import Pipeline
        from rag_app.ingest.ingestion import ingest

        with private_files():
            report = ingest([docs], settings)
    if not as_json:
        typer.echo(
            f"{report.documents} documents, {report.chunks} chunks in {settings.data_dir} "
            f"({report.embedded} of them embedded just now)."
        )
    results: list[dict[str, Any]] = []
    with Pipeline.open(settings) as pipeline:
        for number, asked in enumerate(QUESTIONS, start=1):
            with busy("Searching"):
                results.append(pipeline.answer(asked.question).told())
            if not as_json:
                _print_block(number, asked, results[-1])
    if as_json:
        print_json(
            {
                "ingest": report.to_dict(),
                "questions": [
                    {"shows": asked.shows, **without_words(told)}
                    for asked, told in zip(QUESTIONS, results, strict=True)
                ],
            }
        )
        return
    typer.echo("")
    typer.secho("Now ask yourself:", bold=True)
    program = _program()
    typer.echo(f'  {program} ask "How is the floor fitted?" --trace')
    typer.echo(f'  {program} search "How is the floor fitted?"')
    typer.echo(f"  {program} chat")
    typer.echo(f"  {program} ingest YOUR_FOLDER --collection mine")


def _program() -> str:
    """What to type here to start this program: `make demo` does not activate its environment."""
    started = Path(sys.argv[0])
    if started.name != "rankgate" or shutil.which("rankgate") is not None:
        return "rankgate"
    return os.path.relpath(started)


def _print_block(number: int, asked: DemoQuestion, told: Told) -> None:
    from rich.console import Console
    from rich.rule import Rule
    from rich.text import Text

    typer.echo("")
    Console().print(Rule(Text(f"{number}. {asked.shows}", style="bold"), align="left"))
    typer.secho(f"> {asked.question}", fg=typer.colors.CYAN)
    typer.echo("")
    if told["answer"] is not None:
        typer.echo(told["answer"])
    print_evidence(told, trace=True)


def register(app: typer.Typer) -> None:
    """Add the command; hidden, because it is for the project's own folder."""
    app.command("demo", hidden=True, epilog=_EPILOG)(grouped(demo))
