"""Options that the commands of the evaluation share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rankgate.retrieve import DEFAULT_K

SplitOption = Annotated[
    str | None, typer.Option("--split", help="Of the data set; without it all queries.")
]
FirstStageOption = Annotated[
    str, typer.Option("--first-stage", help="Kind of index: hybrid, dense or bm25.")
]
ScorerOption = Annotated[
    str | None,
    typer.Option(
        "--scorer",
        help="late-interaction (the default), late-interaction:FILE for question layers of your "
        "own, cross-encoder:NAME, onnx:FOLDER, cohere:MODEL, jina:MODEL or voyage:MODEL (texts "
        "leave the machine; key in COHERE_API_KEY and so on), tei:MODEL@URL, or module:attribute "
        "for your own.",
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="Policy file; without it the default one, if it fits."),
]
KOption = Annotated[
    int | None,
    typer.Option("--k", min=1, help=f"Candidates to read; usually the policy's ({DEFAULT_K})."),
]
TopNOption = Annotated[
    int | None, typer.Option("--top-n", min=1, help="Passages to keep; usually the policy's (5).")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most so many queries, evenly spread.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of folds, intervals and tests.")]
FieldOption = Annotated[
    list[str] | None,
    typer.Option("--field", help="A field of the queries that is a stratum; repeatable."),
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget-ms", help="Latency that 95 of 100 queries must keep."),
]
PriorOption = Annotated[
    float | None,
    typer.Option(
        "--prior",
        min=0.0,
        max=0.999,
        help="Share, such as 0.3, of unanswerable questions in the traffic that probabilities are "
        "for. Without "
        "it calibrate fits them for the questions read, about half of them unanswerable, and "
        "eval judges them by what the policy was fitted for.",
    ),
]
OutOption = Annotated[
    Path, typer.Option("--out", help="Folder for result.json, report.html and report.md.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON alone on stdout; messages go to stderr.")
]


def typed_command() -> str:
    """The command line as it was typed, for the record."""
    import shlex

    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def debugging(ctx: typer.Context) -> bool:
    """Whether `rankgate --debug` was given."""
    return bool(ctx.find_root().params.get("debug"))
