"""Reads whatever the user has to learn from, and parts it into training and dev.

No question is on both sides, neither itself, nor in the same words, nor by a passage or document
that answers both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rankgate.errors import InputError
from rankgate.feedback import read_feedback as read_log
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.groups import document_groups
from rankgate_eval.data.loading import load_dataset
from rankgate_eval.data.normalise import normalised
from rankgate_eval.data.readers.feedback import is_feedback
from rankgate_eval.train.mining import TrainingCorpus, TrainingQuery
from rankgate_eval.train.readers import read_documents, read_triples

_DEV_SHARE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One corpus and its parts.

    Attributes:
        corpus: passages, and the questions of both parts.
        train: ids of questions to learn from.
        dev: ids of questions to look at; empty for documents without labels, whose made-up
            questions say nothing about real ones.
        splits: names and sizes of the splits of a data set that has some.
        told: what must be known before any number, such as what two splits share.
    """

    corpus: TrainingCorpus
    train: tuple[str, ...]
    dev: tuple[str, ...]
    note: str
    splits: str = ""
    told: tuple[str, ...] = ()


def load_sources(
    paths: Sequence[str | Path],
    *,
    train: str | None = None,
    dev: str = "dev",
    licences: Mapping[str, str] | None = None,
    min_grade: int = 1,
    seed: int = 0,
) -> list[Source]:
    """All sources of a training.

    Args:
        paths: see `load_source`.
        train: split to learn from; None: `train`, and where no source has that, the dev split is
            parted by document.
        licences: name of a file or folder, with or without its ending, to licence.
        min_grade: least grade of a data set's judgements that is relevant.

    Raises:
        InputError: see `load_source`; a licence of no source, two sources of one name, nothing
            to learn from, or a question of one source that is dev's in another.
    """
    stated = dict(licences or {})
    sources = []
    for path in map(Path, paths):
        licence = stated.pop(path.name, stated.pop(path.stem, "not stated"))
        sources.append(
            load_source(
                path,
                train="train" if train is None else train,
                dev=dev,
                licence=licence,
                min_grade=min_grade,
                seed=seed,
            )
        )
    if stated:
        raise InputError(
            f"--licence names {next(iter(stated))!r}, which is none of the sources: "
            f"{', '.join(Path(p).name for p in paths)}"
        )
    names = [s.corpus.name for s in sources]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise InputError(f"two sources are called {twice!r}: rename one of the files or folders")
    if not any(s.train for s in sources):
        if train is not None:
            have = "; ".join(f"{s.corpus.name} has {s.splits or 'no splits'}" for s in sources)
            raise InputError(
                f"there is nothing to learn from: no source has a labelled question in split "
                f"{train!r} ({have}). Name a split with --split, or leave it out: then dev is "
                "parted by document"
            )
        sources = [_parted(s.corpus, seed, what=f"no split train: {dev} parted, ") for s in sources]
    _refuse_common(
        [q for s in sources for q in _queries(s, s.train)],
        [q for s in sources for q in _queries(s, s.dev)],
        by_text_alone=True,
    )
    return sources


def load_source(
    path: str | Path,
    *,
    train: str = "train",
    dev: str = "dev",
    licence: str = "not stated",
    min_grade: int = 1,
    seed: int = 0,
) -> Source:
    """A BEIR folder, a table of questions, triples, a feedback log, or a folder of documents.

    The form is seen from what is there. A data set with splits keeps them; others are parted by
    group, three tenths of the questions for dev.

    Raises:
        InputError: nothing usable there, a split that the data set has not, or questions that
            would be learned from and looked at.
    """
    where = Path(path)
    beir = any((where / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz"))
    if where.is_dir() and not beir:
        corpus = read_documents(where, licence=licence)
        ids = tuple(q.id for q in corpus.queries)
        return Source(corpus=corpus, train=ids, dev=(), note="no labels: learned from, not dev")
    if _holds_triples(where):
        return _parted(read_triples(where, licence=licence), seed)
    logged = where.suffix.casefold() == ".jsonl" and where.is_file() and is_feedback(where)
    if logged and not any(any(found.values()) for found in read_log(where).verdicts().values()):
        raise InputError(
            f"{where}: none of its judgements says that a passage helped; training needs such ones"
        )
    data, report = load_dataset(where, min_grade=min_grade)
    corpus = _grouped(
        _from_dataset(
            data,
            licence,
            [train, dev] if data.splits else [None],
            "feedback" if logged else "beir",
        )
    )
    if not data.splits:
        return _parted(corpus, seed)
    if dev not in data.splits:
        data.query_ids(dev)  # raises, naming the splits that there are
    learned = data.judged(train) if train in data.splits else []
    source = Source(
        corpus=corpus,
        train=tuple(learned),
        dev=tuple(data.judged(dev)),
        note=f"splits {train} and {dev}"
        if learned
        else f"split {dev} alone: looked at, not learned from",
        splits=", ".join(f"{name} ({len(data.judged(name))})" for name in data.splits),
        told=report.said_first,
    )
    _refuse_common(_queries(source, source.train), _queries(source, source.dev))
    return source


def _queries(source: Source, ids: Sequence[str]) -> list[TrainingQuery]:
    known = {q.id: q for q in source.corpus.queries}
    return [known[q] for q in ids]


def _refuse_common(
    learned: Sequence[TrainingQuery], dev: Sequence[TrainingQuery], *, by_text_alone: bool = False
) -> None:
    """Raise where a question to learn from is one of dev's, in itself, by words or by document."""
    texts = {normalised(q.text) for q in learned}
    groups = {q.group or q.id for q in learned}
    common = [
        q
        for q in dev
        if normalised(q.text) in texts or (not by_text_alone and (q.group or q.id) in groups)
    ]
    if common:
        raise InputError(
            f"{len(common)} of the {len(dev)} dev questions would be learned from too, as they "
            "are, in the same words, or by a passage or document that answers both "
            f"({common[0].text!r}): what is learned from cannot judge. Name different splits with "
            "--split and --dev, or take these questions out of one of them."
        )


def _grouped(corpus: TrainingCorpus) -> TrainingCorpus:
    """The same with questions of equal words or a common passage in one group."""
    joined = document_groups(
        [q.id for q in corpus.queries],
        {q.id: (f"group {q.group or q.id}", *q.positives) for q in corpus.queries},
        texts={q.id: q.text for q in corpus.queries},
    )
    if len(set(joined.values())) == len({q.group or q.id for q in corpus.queries}):
        return corpus
    return replace(corpus, queries=tuple(replace(q, group=joined[q.id]) for q in corpus.queries))


def _holds_triples(file: Path) -> bool:
    if file.suffix.casefold() == ".tsv":
        return True
    if file.suffix.casefold() != ".jsonl" or not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as stream:
        line = next((text for text in stream if text.strip()), "")
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and "positive" in row and "verdict" not in row


def _from_dataset(
    data: Dataset, licence: str, splits: Sequence[str | None], source: str
) -> TrainingCorpus:
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
        source=source,
    )


def _parted(corpus: TrainingCorpus, seed: int, *, what: str = "no splits: ") -> Source:
    whole = _grouped(corpus)
    dev = part_by_group(whole.queries, share=_DEV_SHARE, seed=seed)
    return Source(
        corpus=whole,
        train=tuple(q.id for q in whole.queries if q.id not in dev),
        dev=tuple(q.id for q in whole.queries if q.id in dev),
        note=f"{what}{_DEV_SHARE:.0%} of the questions are dev, by document",
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
