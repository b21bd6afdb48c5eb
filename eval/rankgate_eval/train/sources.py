"""Reads whatever the user has to learn from, and parts it into training and dev."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.train.engine import (
    TrainingCorpus,
    TrainingQuery,
    corpus_from_feedback,
    read_documents,
    read_triples,
)

__all__ = ["Source", "load_source", "part_by_group"]

_DEV_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One corpus and its parts.

    Attributes:
        corpus: passages, and the questions of both parts.
        train: ids of questions to learn from.
        dev: ids of questions to look at; empty for documents without labels, whose made-up
            questions say nothing about real ones.
        note: how the parts came about.
    """

    corpus: TrainingCorpus
    train: tuple[str, ...]
    dev: tuple[str, ...]
    note: str


def load_source(
    path: str | Path,
    *,
    train: str = "train",
    dev: str = "dev",
    licence: str = "not stated",
    seed: int = 0,
) -> Source:
    """A BEIR folder, a table of questions, triples, a feedback log, or a folder of documents.

    The form is seen from what is there. A data set with splits keeps them; others are parted by
    group, a fifth of the questions for dev.

    Raises:
        InputError: nothing usable there, or a split that the data set has not.
    """
    where = Path(path)
    if where.is_dir() and not _is_beir(where):
        corpus = read_documents(where, licence=licence)
        ids = tuple(q.id for q in corpus.queries)
        return Source(corpus=corpus, train=ids, dev=(), note="no labels: learned from, not dev")
    form = _form(where)
    if form == "feedback":
        return _parted(corpus_from_feedback(where, licence=licence), seed)
    if form == "triples":
        return _parted(read_triples(where, licence=licence), seed)
    data, _ = load_dataset(where)
    corpus = _from_dataset(data, licence, [train, dev] if data.splits else [None])
    if not data.splits:
        return _parted(corpus, seed)
    if dev not in data.splits:
        data.query_ids(dev)  # raises, naming the splits that there are
    known = {q.id for q in corpus.queries}
    learned = data.judged(train) if train in data.splits else []
    return Source(
        corpus=corpus,
        train=tuple(q for q in learned if q in known),
        dev=tuple(q for q in data.judged(dev) if q in known),
        note=f"splits {train} and {dev}"
        if learned
        else f"split {dev} alone: looked at, not learned from",
    )


def _is_beir(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz"))


def _form(file: Path) -> str:
    """`feedback`, `triples` or `other`, by the first row."""
    if file.suffix.casefold() == ".tsv":
        return "triples"
    if file.suffix.casefold() != ".jsonl" or not file.is_file():
        return "other"
    with file.open(encoding="utf-8", errors="replace") as stream:
        line = next((text for text in stream if text.strip()), "")
    try:
        row = json.loads(line)
    except ValueError:
        return "other"
    if not isinstance(row, dict):
        return "other"
    if "verdict" in row:
        return "feedback"
    return "triples" if "positive" in row else "other"


def _from_dataset(data: Dataset, licence: str, splits: Sequence[str | None]) -> TrainingCorpus:
    """Only the named splits' questions are taken over: others are not even in memory."""
    ids: dict[str, None] = {}
    for split in splits:
        if split is None or split in data.splits:
            ids |= dict.fromkeys(data.judged(split))
    return TrainingCorpus(
        name=data.name,
        passages=data.corpus,
        queries=tuple(
            TrainingQuery(
                id=q,
                text=data.queries[q],
                positives=data.relevant(q),
                negatives=tuple(
                    p for p, grade in data.qrels[q].items() if grade <= 0 and p in data.corpus
                ),
                group=data.group_of(q),
            )
            for q in ids
        ),
        licence=licence,
        source="beir",
    )


def _parted(corpus: TrainingCorpus, seed: int) -> Source:
    dev = part_by_group(corpus.queries, share=_DEV_SHARE, seed=seed)
    return Source(
        corpus=corpus,
        train=tuple(q.id for q in corpus.queries if q.id not in dev),
        dev=tuple(q.id for q in corpus.queries if q.id in dev),
        note=f"no splits: {_DEV_SHARE:.0%} of the questions are dev, by document",
    )


def part_by_group(
    queries: Sequence[TrainingQuery], *, share: float, seed: int, at_most: int | None = None
) -> frozenset[str]:
    """Ids of about this share of the questions, whole groups, drawn by seed."""
    groups: dict[str, list[str]] = {}
    for query in queries:
        groups.setdefault(query.group or query.id, []).append(query.id)
    wanted = round(share * len(queries))
    if at_most is not None:
        wanted = min(wanted, at_most)
    names = sorted(groups)
    found: list[str] = []
    for index in np.random.default_rng([seed, 29]).permutation(len(names)):
        if len(found) >= wanted:
            break
        # A group that alone is much too large stays where it is.
        if len(found) + len(groups[names[int(index)]]) <= max(wanted * 1.25, 1):
            found += groups[names[int(index)]]
    return frozenset(found)
