"""`rankgate export-corpus`: the passages of a store as corpus.jsonl, to be labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_EPILOG = (
    "Exit codes: 0 ok; 2 wrong usage, setting or store. What the file is for: docs/evaluation.md, "
    "'Your ingested index'."
)
_HINT = """Next, questions: a line of questions.jsonl for each, with words quoted from the passages
that answer it, or with their ids:
  {{"question": "...", "spans": ["words of a passage"], "answer": "..."}}
  {{"question": "...", "passage_ids": ["{example}"]}}
and, for each that nothing answers:
  {{"question": "...", "answerability": "unanswerable"}}
50 questions about 20 documents at least. Then:
  rankgate eval questions.jsonl {then} --out report"""


def export_corpus(
    out: Annotated[Path, typer.Option(help="corpus.jsonl or corpus.jsonl.gz to write.")],
    collection: Annotated[
        str | None, typer.Option(help="An ingested collection, or one of Chroma's.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the index; usually ./.rankgate.")
    ] = None,
    chroma: Annotated[Path | None, typer.Option(help="A folder that Chroma keeps.")] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="Your own store, index or retriever of it, as module:attribute, if it lists "
            "its passages."
        ),
    ] = None,
    id_key: Annotated[str | None, typer.Option(help="Metadata key with the passage's id.")] = None,
) -> None:
    """Write the passages of a store as a corpus in BEIR's form, so that they can be labelled."""
    from rankgate.adapters.stores import listed, stores_below
    from rankgate.errors import InputError
    from rankgate_eval.data.attribute import load_object
    from rankgate_eval.stores.collections import open_collection
    from rankgate_eval.stores.listing import chroma_folder, write_corpus

    if out.suffix.casefold() not in (".jsonl", ".gz"):
        raise InputError(f"--out ends in .jsonl or .jsonl.gz, got {out}")
    if system is not None and (chroma is not None or collection is not None):
        raise InputError("--system is a store of its own: leave --chroma and --collection out")
    if data_dir is not None and (chroma is not None or system is not None):
        raise InputError("--data-dir goes with a collection that was ingested")
    if system is not None:
        then = f"--corpus {out} --system {system}"
        stores = stores_below(load_object(system, what="--system"))
        written = write_corpus(out, (c for s in stores for c in listed(s, id_key=id_key)))
    elif chroma is not None:
        then = f"--corpus {out} --system module:attribute"
        written = write_corpus(out, listed(chroma_folder(chroma, collection), id_key=id_key))
    else:
        if collection is None:
            raise InputError("name a store: --collection NAME, --chroma FOLDER or --system M:A")
        folder = "" if data_dir is None else f" --data-dir {data_dir}"
        then = f"--collection {collection}{folder}"
        with open_collection(collection, data_dir=data_dir) as opened:
            written = write_corpus(out, listed(opened, id_key=id_key))
    passages, documents, blank = written
    of = f" of {documents} documents" if documents else ""
    typer.echo(f"{passages} passages{of} in {out}")
    if blank:
        typer.echo(f"{blank} passages without a text were left out")
    typer.echo(_HINT.format(then=then, example=_first_id(out)))


def _first_id(file: Path) -> str:
    from rankgate_eval.data.raw import RawDataset
    from rankgate_eval.data.readers.lines import json_objects

    return next(str(row["_id"]) for _, row in json_objects(file, RawDataset(name=file.name)))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export-corpus", epilog=_EPILOG)(export_corpus)
