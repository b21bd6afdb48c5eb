"""Reads a retrieval task as it lies in a repository of the Hugging Face hub (the benchmark MTEB's).

Folders or files `corpus` and `queries`, and judgements in `qrels`, `default` or `data`, each as
JSON lines or Parquet, a file a split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankgate.errors import MissingExtraError
from rankgate_eval.data.raw import JudgementRow, RawDataset, SplitRow
from rankgate_eval.data.readers.lines import identifier, json_objects
from rankgate_eval.data.readers.passages import add_passages, add_queries
from rankgate_eval.finding import Place

_JUDGEMENTS = ("qrels", "default", "data")
_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
# `test-00000-of-00003.parquet` is a third of the split `test`.
_SHARD = re.compile(r"-\d+-of-\d+$")


def is_hub_folder(folder: Path) -> bool:
    """Whether it has this form; BEIR's own, with `corpus.jsonl` and .tsv judgements, has not."""
    beir = (folder / "qrels.tsv").is_file() or any((folder / "qrels").glob("*.tsv"))
    return not beir and bool(_files(folder, "corpus")) and bool(_files(folder, *_JUDGEMENTS))


def read_hub(folder: str | Path) -> RawDataset:
    """Read passages, queries and judgements; the files of the judgements name the splits.

    Raises:
        MissingExtraError: there are Parquet files, and nothing that reads them.
    """
    root = Path(folder)
    raw = RawDataset(name=root.name or root.resolve().name)
    for what, add in (("corpus", add_passages), ("queries", add_queries)):
        files = _files(root, what)
        if not files:
            raw.error("missing_file", f"no {what} in it", Place(file=str(root)))
        for file in files:
            add(_rows(file, raw), raw)
    for file in _files(root, *_JUDGEMENTS):
        _judgements(file, raw)
    return raw


def _judgements(file: Path, raw: RawDataset) -> None:
    split = _SHARD.sub("", file.name.split(".")[0])
    known = {row.query for row in raw.splits if row.split == split}
    for place, row in _rows(file, raw):
        query, passage = identifier(row.get("query-id")), identifier(row.get("corpus-id"))
        grade = row.get("score")
        if query is None or passage is None:
            raw.error("missing_field", "expected query-id, corpus-id and score", place)
            continue
        if isinstance(grade, bool) or not isinstance(grade, int | float) or grade != int(grade):
            raw.error("wrong_type", f"the score must be a whole number, got {grade!r}", place)
            continue
        raw.judgements.append(
            JudgementRow(query=query, passage=passage, grade=int(grade), place=place)
        )
        if query not in known:
            known.add(query)
            raw.splits.append(SplitRow(split=split, query=query, place=place))


def _files(root: Path, *names: str) -> list[Path]:
    """The files of the first of these names that has some."""
    for name in names:
        folder = root / name
        inside = folder.iterdir() if folder.is_dir() else root.glob(f"{name}*")
        found = sorted(
            f
            for f in inside
            if f.is_file()
            and f.name.endswith(_ENDINGS)
            and (folder.is_dir() or _SHARD.sub("", f.name.split(".")[0]) == name)
        )
        if found:
            return found
    return []


def _rows(file: Path, raw: RawDataset) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Rows with their number; an `id` is called `_id`, as in BEIR."""
    rows = _parquet(file, raw) if file.suffix == ".parquet" else json_objects(file, raw)
    for place, row in rows:
        if "_id" not in row and "id" in row:
            row = {"_id": row.pop("id"), **row}
        yield place, row


def _parquet(file: Path, raw: RawDataset) -> Iterator[tuple[Place, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as exc:
        raise MissingExtraError(f"reading {file.name}", "eval-data") from exc
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield Place(file=str(file), line=number), row
    except (pyarrow.ArrowException, OSError) as exc:
        raw.error("unreadable", f"cannot be read as Parquet: {exc}", Place(file=str(file)))
