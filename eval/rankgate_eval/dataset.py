"""A retrieval data set: passages, queries, judgements, splits, as BEIR folders hold them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankgate.errors import InputError

__all__ = ["Dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Passages, queries and who is relevant to whom.

    Attributes:
        name: of the folder.
        corpus: passage id to text, the title before it.
        queries: query id to text.
        qrels: query id to passage id to relevance (> 0 is relevant).
        splits: split name to query ids; empty where the folder has none.
    """

    name: str
    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    splits: Mapping[str, tuple[str, ...]]

    @classmethod
    def load(cls, folder: str | Path) -> Dataset:
        """Read corpus.jsonl[.gz], queries.jsonl, qrels.tsv and, where present, splits.json.

        Raises:
            InputError: a file is missing or a row unreadable; the message has file and line.
        """
        root = Path(folder)
        zipped = root / "corpus.jsonl.gz"
        corpus = {
            str(row["_id"]): "\n".join(p for p in (row.get("title", ""), row["text"]) if p)
            for row in _rows(zipped if zipped.exists() else root / "corpus.jsonl")
        }
        queries = {str(row["_id"]): str(row["text"]) for row in _rows(root / "queries.jsonl")}
        qrels: dict[str, dict[str, int]] = {}
        file = root / "qrels.tsv"
        try:
            with file.open(encoding="utf-8", newline="") as stream:
                for line, row in enumerate(csv.reader(stream, delimiter="\t"), start=1):
                    if line == 1 and row[:1] == ["query-id"]:
                        continue
                    try:
                        query, passage, grade = row
                        qrels.setdefault(query, {})[passage] = int(grade)
                    except ValueError as exc:
                        raise InputError(
                            f"{file}, line {line}: expected query-id, corpus-id and a whole "
                            f"number, separated by tabs; got {row!r}"
                        ) from exc
        except OSError as exc:
            raise InputError(f"cannot read {file}: {exc}") from exc
        splits_file = root / "splits.json"
        splits: dict[str, tuple[str, ...]] = {}
        if splits_file.exists():
            loaded: dict[str, list[str]] = json.loads(splits_file.read_text("utf-8"))
            splits = {name: tuple(ids) for name, ids in loaded.items()}
        return cls(name=root.name, corpus=corpus, queries=queries, qrels=qrels, splits=splits)

    def judged(self, split: str) -> list[str]:
        """Ids of a split's queries that have a relevant passage, in file order.

        Raises:
            InputError: no such split.
        """
        if split not in self.splits:
            have = ", ".join(self.splits) or "none"
            raise InputError(f"{self.name} has no split {split!r}; it has: {have}")
        return [q for q in self.splits[split] if any(g > 0 for g in self.qrels.get(q, {}).values())]


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8") as stream:
            for line, text in enumerate(stream, start=1):
                if not text.strip():
                    continue
                try:
                    row = json.loads(text)
                    row["_id"], row["text"]
                except (ValueError, KeyError, TypeError) as exc:
                    raise InputError(
                        f"{file}, line {line}: expected a JSON object with _id and text ({exc})"
                    ) from exc
                yield row
    except OSError as exc:
        raise InputError(f"cannot read {file}: {exc}") from exc
