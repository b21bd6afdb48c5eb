"""Reads a BEIR folder: corpus, queries, judgements, splits."""

from __future__ import annotations

import json
from pathlib import Path

from rankgate_eval.data.raw import JudgementRow, RawDataset, SplitRow
from rankgate_eval.data.readers.lines import numbered_lines, present
from rankgate_eval.data.readers.passages import read_passages, read_queries
from rankgate_eval.finding import Place


def read_beir(
    folder: str | Path, *, queries: str | None = None, qrels: str | None = None
) -> RawDataset:
    """Read corpus.jsonl[.gz], queries.jsonl[.gz], qrels.tsv or qrels/*.tsv, splits.json.

    A query's split is that of its own field `split`; of the queries without one, that of
    splits.json, or, where there is none, the name of its file in qrels/. Nothing is raised for
    what the files hold: see the `errors` of what is returned.

    Args:
        queries: another file of queries in the folder, such as `queries-typos.jsonl`.
        qrels: another file of judgements in the folder.
    """
    root = Path(folder)
    raw = RawDataset(name=root.name or root.resolve().name)
    if not root.is_dir():
        raw.error("missing_file", "no such folder", Place(file=str(root)))
        return raw
    corpus = present(root, "corpus.jsonl", "corpus.jsonl.gz")
    asked = root / queries if queries else present(root, "queries.jsonl", "queries.jsonl.gz")
    read_passages(corpus if corpus is not None else root / "corpus.jsonl", raw)
    read_queries(asked if asked is not None else root / "queries.jsonl", raw)
    said = {row.query for row in raw.splits}
    silent = not said or any(row.id not in said for row in raw.queries)
    named: list[SplitRow] = []
    folder_of_qrels = root / "qrels"
    if qrels or (root / "qrels.tsv").is_file() or not folder_of_qrels.is_dir():
        if not qrels and folder_of_qrels.is_dir():
            raw.warn(
                "two_qrels",
                "qrels.tsv is read, the folder qrels/ beside it is not",
                Place(file=str(folder_of_qrels)),
            )
        read_qrels_table(root / (qrels or "qrels.tsv"), raw)
    else:
        files = sorted(folder_of_qrels.glob("*.tsv"))
        if not files:
            raw.error("missing_file", "no .tsv file in it", Place(file=str(folder_of_qrels)))
        for file in files:
            before = len(raw.judgements)
            read_qrels_table(file, raw)
            first: dict[str, Place] = {}
            for row in raw.judgements[before:]:
                first.setdefault(row.query, row.place)
            named += [SplitRow(split=file.stem, query=q, place=at) for q, at in first.items()]
    splits = root / "splits.json"
    if silent:
        own, raw.splits = raw.splits, []
        if splits.is_file():
            _read_splits(splits, raw)
        else:
            raw.splits += named
        raw.splits = own + [row for row in raw.splits if row.query not in said]
    return raw


def read_qrels_table(file: Path, raw: RawDataset) -> None:
    """Append the judgements of a table query-id, corpus-id, score, separated by tabs."""
    for place, text in numbered_lines(file, raw):
        cells = text.split("\t")
        if cells[0] == "query-id" and place.line == 1:
            continue
        if len(cells) != 3:
            trec = len(text.split()) == 4
            raw.error(
                "unreadable",
                "expected query-id, corpus-id and a whole number, separated by tabs; got "
                f"{text[:80]!r}"
                + (
                    ". This looks like TREC qrels: give the file as DATA, with --corpus and "
                    "--queries"
                    if trec
                    else ""
                ),
                place,
            )
            continue
        query, passage, grade = (cell.strip() for cell in cells)
        try:
            value = int(grade)
        except ValueError:
            raw.error("wrong_type", f"the score must be a whole number, got {grade!r}", place)
            continue
        raw.judgements.append(JudgementRow(query=query, passage=passage, grade=value, place=place))


def _read_splits(file: Path, raw: RawDataset) -> None:
    place = Place(file=str(file))
    try:
        loaded = json.loads(file.read_text("utf-8-sig"))
    except json.JSONDecodeError as exc:
        raw.error("unreadable", f"not JSON: {exc}", Place(file=str(file), line=exc.lineno))
        return
    except (OSError, ValueError, RecursionError) as exc:
        raw.error("unreadable", f"cannot be read: {exc}", place)
        return
    if not isinstance(loaded, dict):
        raw.error(
            "wrong_type",
            f"expected an object of split name to query ids, got {type(loaded).__name__}",
            place,
        )
        return
    for name, ids in loaded.items():
        if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
            raw.error("wrong_type", f"split {name!r} must be a list of query ids", place)
            continue
        raw.splits += [SplitRow(split=name, query=i.strip(), place=place) for i in ids]
