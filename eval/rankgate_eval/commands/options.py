"""Options that the commands of the evaluation share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rankgate_eval.dataset import Dataset
    from rankgate_eval.dataset_check import DatasetReport

__all__ = [
    "BudgetOption",
    "CacheOption",
    "CorpusOption",
    "DataArgument",
    "FieldOption",
    "FirstStageOption",
    "IdKeyOption",
    "JsonOption",
    "LimitOption",
    "OutOption",
    "PolicyOption",
    "QrelsOption",
    "QueriesOption",
    "ScorerOption",
    "SeedOption",
    "SplitOption",
    "SystemOption",
    "TopNOption",
    "debugging",
    "read_data",
    "typed_command",
]

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A BEIR folder, a CSV or JSONL file of questions with their gold, or TREC qrels.",
    ),
]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="Of the data set; without it all queries.")
]
QueriesOption = Annotated[
    str | None, typer.Option("--queries", help="Another file of queries (in a BEIR folder).")
]
CorpusOption = Annotated[
    str | None, typer.Option("--corpus", help="Passages, where DATA has none of its own.")
]
QrelsOption = Annotated[
    str | None, typer.Option("--qrels", help="Another file of judgements (in a BEIR folder).")
]
SystemOption = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="Your own first stage, as module:attribute: a LangChain retriever, a Chroma store, "
        "a function of query and k, or what makes one. Without it an index over DATA.",
    ),
]
IdKeyOption = Annotated[
    str | None,
    typer.Option("--id-key", help="Metadata key with the passage's id, for LangChain."),
]
FirstStageOption = Annotated[
    str, typer.Option("--first-stage", help="Kind of index: hybrid, dense or bm25.")
]
ScorerOption = Annotated[
    str | None,
    typer.Option(
        "--scorer",
        help="late-interaction (the default), cross-encoder:NAME, onnx:FOLDER, or "
        "module:attribute for your own.",
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="Policy file; without it the default one, if it fits."),
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
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder for vectors; usually ./.rankgate/eval."),
]
OutOption = Annotated[
    Path, typer.Option("--out", help="Folder for result.json, report.html and report.md.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON alone on stdout; messages go to stderr.")
]


def read_data(
    data: str, *, corpus: str | None, queries: str | None, qrels: str | None
) -> tuple[Dataset, DatasetReport]:
    """Read and check the data set.

    Raises:
        DatasetError: it has errors.
        InputError: nothing is there, or an option does not go with its form.
    """
    from rankgate_eval.loading import load_dataset

    return load_dataset(data, corpus=corpus, queries=queries, qrels=qrels)


def typed_command() -> str:
    """The command line as it was typed, for the record."""
    import shlex

    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def debugging(ctx: typer.Context) -> bool:
    """Whether `rankgate --debug` was given."""
    return bool(ctx.find_root().params.get("debug"))
