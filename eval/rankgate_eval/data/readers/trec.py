"""Reads TREC judgements over passages and queries that stand in files of their own."""

from __future__ import annotations

from pathlib import Path

from rankgate_eval.data.raw import JudgementRow, QueryRow, RawDataset
from rankgate_eval.data.readers.lines import numbered_lines
from rankgate_eval.data.readers.passages import read_passages, read_queries


def read_trec(
    *, corpus: str | Path, queries: str | Path, qrels: str | Path, name: str | None = None
) -> RawDataset:
    """Read a data set whose judgements are in TREC's form.

    Args:
        corpus: JSON lines with `_id` and `text`, plain or gzipped.
        queries: JSON lines with `_id` and `text`, or lines of id, tab, text.
        qrels: lines of query, iteration (ignored), passage, grade, separated by white space.
        name: of the data set; None: of the qrels file.
    """
    raw = RawDataset(name=Path(qrels).stem if name is None else name)
    read_passages(Path(corpus), raw)
    asked = Path(queries)
    if ".jsonl" in asked.suffixes:
        read_queries(asked, raw)
    else:
        _read_topics(asked, raw)
    read_qrels(Path(qrels), raw)
    return raw


def _read_topics(file: Path, raw: RawDataset) -> None:
    for place, text in numbered_lines(file, raw):
        key, tab, query = text.partition("\t")
        if not tab or not key.strip():
            raw.error("unreadable", f"expected id, tab, query; got {text[:80]!r}", place)
            continue
        raw.queries.append(QueryRow(id=key.strip(), text=query.strip(), place=place))


def read_qrels(file: Path, raw: RawDataset) -> None:
    """Append the judgements of a TREC qrels file."""
    for place, text in numbered_lines(file, raw):
        cells = text.split()
        if len(cells) != 4:
            raw.error(
                "unreadable",
                f"expected query, iteration, passage, grade; got {text[:80]!r}",
                place,
            )
            continue
        try:
            grade = int(cells[3])
        except ValueError:
            raw.error("wrong_type", f"the grade must be a whole number, got {cells[3]!r}", place)
            continue
        raw.judgements.append(
            JudgementRow(query=cells[0], passage=cells[2], grade=grade, place=place)
        )
