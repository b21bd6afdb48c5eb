"""Loads a data set from whatever the user has, and says what was found in it."""

from __future__ import annotations

from pathlib import Path

from rankgate.errors import InputError
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.dataset_check import DatasetReport, check_dataset
from rankgate_eval.data.kinds import unjudged_as
from rankgate_eval.data.raw import QueryRow, RawDataset
from rankgate_eval.data.readers.beir import read_beir
from rankgate_eval.data.readers.catalogue import catalogue_name, read_catalogue
from rankgate_eval.data.readers.csv import read_csv
from rankgate_eval.data.readers.feedback import is_feedback, read_feedback
from rankgate_eval.data.readers.hub import is_hub_folder, read_hub
from rankgate_eval.data.readers.questions import read_questions
from rankgate_eval.data.readers.trec import read_qrels, read_trec
from rankgate_eval.errors import DatasetError


def read_dataset(
    source: str | Path,
    *,
    corpus: str | Path | None = None,
    queries: str | Path | None = None,
    qrels: str | Path | None = None,
) -> RawDataset:
    """Read a data set, the form seen from what `source` is.

    `ir_datasets:NAME` is one of that catalogue. A folder is BEIR's, and `queries` and `qrels` name
    other files in it, or a retrieval task as the hub has it; `.csv` and `.tsv` are
    tables and `.jsonl` are JSON lines of questions or a feedback log, over `corpus` or forming
    it; anything else is a TREC qrels file, which needs `corpus` and `queries`.

    Raises:
        InputError: nothing is there, or an argument does not go with the form.
    """
    path = Path(source)
    name = catalogue_name(source)
    if name is not None or (path.is_dir() and is_hub_folder(path)):
        if corpus is not None or queries is not None or qrels is not None:
            raise InputError(f"{source} has all it needs: leave corpus, queries and qrels out")
        return read_hub(path) if name is None else read_catalogue(name)
    if path.is_dir():
        if corpus is not None:
            raise InputError(f"{path} is a folder with a corpus of its own: leave corpus out")
        return read_beir(
            path,
            queries=None if queries is None else str(queries),
            qrels=None if qrels is None else str(qrels),
        )
    if not path.is_file():
        raise InputError(
            f"no data set at {path}: give a BEIR folder, a CSV or JSONL file of questions, a TREC "
            "qrels file, or ir_datasets:NAME"
        )
    kinds = {suffix.casefold() for suffix in path.suffixes}
    if not is_qrels(path):
        if queries is not None or qrels is not None:
            raise InputError(
                f"{path} holds the questions and their gold: leave queries and qrels out"
            )
        if ".jsonl" in kinds and is_feedback(path):
            return read_feedback(path, corpus=corpus)
        if ".jsonl" in kinds:
            return read_questions(path, corpus=corpus)
        return read_csv(path, corpus=corpus)
    if corpus is None or queries is None:
        raise InputError(
            f"{path} is taken for a TREC qrels file: give corpus and queries too. A folder, "
            ".csv, .tsv or .jsonl would be read as such."
        )
    return read_trec(corpus=corpus, queries=queries, qrels=path)


def load_dataset(
    source: str | Path,
    *,
    corpus: str | Path | None = None,
    queries: str | Path | None = None,
    qrels: str | Path | None = None,
    unjudged: str = "ignore",
    min_grade: int = 1,
) -> tuple[Dataset, DatasetReport]:
    """Read, check and build a data set; see `read_dataset` for what `source` may be.

    Args:
        unjudged: what becomes of queries without any judgement: `ignore`, `irrelevant` or
            `unanswerable`; see `Unjudged`.
        min_grade: grades below it count as 0; nDCG keeps the others.

    Returns:
        The data set, and the report with its warnings and counts.

    Raises:
        DatasetError: it has errors.
        InputError: nothing is there, or an argument does not go with the form or is out of range.
    """
    treated = unjudged_as(unjudged)
    raw = read_dataset(source, corpus=corpus, queries=queries, qrels=qrels)
    raw.count_from(min_grade)
    report = check_dataset(raw, unjudged=treated)
    report.raise_for_errors()
    return Dataset.from_raw(raw, unjudged=treated), report


def is_qrels(source: str | Path) -> bool:
    """Whether a file is taken for TREC judgements."""
    path = Path(source)
    kinds = {suffix.casefold() for suffix in path.suffixes}
    return path.is_file() and not kinds & {".csv", ".tsv", ".jsonl"}


def load_judgements(qrels: str | Path, *, unjudged: str = "ignore", min_grade: int = 1) -> Dataset:
    """TREC judgements alone, for systems whose lists are files: no texts are known.

    A query's text is its id, and the corpus is empty.

    Raises:
        DatasetError: unreadable rows, or none.
    """
    path = Path(qrels)
    raw = RawDataset(name=path.stem)
    read_qrels(path, raw)
    if not raw.judgements and not raw.errors:
        raw.error("empty", f"{path} has no judgement")
    if raw.errors:
        raise DatasetError(raw.name, raw.errors)
    raw.count_from(min_grade)
    raw.queries = [
        QueryRow(id=q, text=q, place=j.place)
        for q, j in {j.query: j for j in raw.judgements}.items()
    ]
    return Dataset.from_raw(raw, unjudged=unjudged_as(unjudged))
