"""Reads questions that nobody has judged: a list, a table, JSON lines, or a log of them."""

from __future__ import annotations

import json
from pathlib import Path

from rankgate.errors import InputError
from rankgate.feedback import read_feedback
from rankgate_eval.data.raw import QueryRow, RawDataset
from rankgate_eval.data.readers.csv import read_csv
from rankgate_eval.data.readers.feedback import is_feedback
from rankgate_eval.data.readers.lines import numbered_lines
from rankgate_eval.data.readers.passages import read_queries
from rankgate_eval.data.readers.questions import read_questions
from rankgate_eval.errors import DatasetError
from rankgate_eval.finding import Place


def read_asked(file: str | Path) -> list[QueryRow]:
    """Questions of a file, in file order; whatever gold stands there is left out.

    Args:
        file: `.csv` or `.tsv` with a column `question` (or `query`); `.jsonl` whose rows have
            `question`, `query`, `text` or the `turns` of a conversation; a feedback log, each
            question of a session once; any other is one question a line, each once, and lines
            that begin with # are left out. JSON lines and lists may be gzipped.

    Raises:
        DatasetError: rows that cannot be read.
        InputError: no such file, or no question in it.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no file of questions at {path}")
    raw = RawDataset(name=path.name)
    kinds = {suffix.casefold() for suffix in path.suffixes}
    if kinds & {".csv", ".tsv"}:
        raw = read_csv(path, gold=False)
    elif ".jsonl" not in kinds:
        once = {text.strip(): place for place, text in numbered_lines(path, raw)}
        raw.queries = [
            QueryRow(id=f"q{place.line}", text=text, place=place)
            for text, place in once.items()
            if not text.startswith("#")
        ]
    elif is_feedback(path):
        asked = dict.fromkeys((j.query, j.session) for j in read_feedback(path).judgements)
        raw.queries = [
            QueryRow(
                id=f"q{i}", text=text, place=Place(file=str(path)), fields={"session": session}
            )
            for i, (text, session) in enumerate(asked, start=1)
        ]
    elif _are_turns(path):
        read_queries(path, raw)
    else:
        raw = read_questions(path)
    if raw.errors:
        raise DatasetError(raw.name, raw.errors)
    if not raw.queries:
        raise InputError(f"{path} has no question")
    return raw.queries


def _are_turns(path: Path) -> bool:
    """Whether the first row is a conversation."""
    for _, text in numbered_lines(path, RawDataset(name=path.name)):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(row, dict) and isinstance(row.get("turns"), list)
    return False
