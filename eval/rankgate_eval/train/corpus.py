"""What the trainer learns from: passages, questions, and which of them belong together.

Readers of other forms (triples, the feedback log, unlabelled documents, and the data sets of the
evaluation) all end in a `TrainingCorpus`, so mining and training know only this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from rankgate.errors import InputError

__all__ = ["TrainingCorpus", "TrainingQuery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingQuery:
    """A question and what is known about it.

    Attributes:
        id: unique in its corpus.
        text: the question.
        positives: ids of passages that answer it; at least one.
        negatives: ids of passages that are known not to; mining adds others.
        group: queries of one group share a document; they are never on both sides of a split.
            "" stands for a group of its own.
    """

    id: str
    text: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCorpus:
    """Passages and the questions asked of them.

    Attributes:
        name: of the folder or file, for cards and progress.
        passages: passage id to text, the title before it.
        queries: what may be learned from.
        licence: as the user stated it; the card repeats it.
        source: `beir`, `triples`, `feedback` or `documents`.

    Raises:
        InputError: a query without positives, an id that is no passage, or an id twice.
    """

    name: str
    passages: Mapping[str, str]
    queries: tuple[TrainingQuery, ...]
    licence: str = "not stated"
    source: str = "beir"
    fingerprint: str = field(init=False, default="")

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for query in self.queries:
            if query.id in seen:
                raise InputError(f"{self.name}: query id {query.id!r} stands twice")
            seen.add(query.id)
            if not query.positives:
                raise InputError(
                    f"{self.name}: query {query.id!r} has no positive passage; leave it out"
                )
            for passage in (*query.positives, *query.negatives):
                if passage not in self.passages:
                    raise InputError(
                        f"{self.name}: query {query.id!r} names passage {passage!r}, which is "
                        "not in the corpus"
                    )
        object.__setattr__(self, "fingerprint", _fingerprint(self))

    def subset(self, query_ids: Collection[str]) -> TrainingCorpus:
        """The same passages with only these queries, in their old order."""
        wanted = set(query_ids)
        return replace(self, queries=tuple(q for q in self.queries if q.id in wanted))


def _fingerprint(corpus: TrainingCorpus) -> str:
    """sha256 over everything that training reads, so a card says exactly what was learned from.

    Independent of the order in which passages stand.
    """
    digest = hashlib.sha256()
    for identifier in sorted(corpus.passages):
        _add(digest, "p", identifier, corpus.passages[identifier])
    for query in corpus.queries:
        _add(digest, "q", query.id, query.text, *sorted(query.positives), "-", *query.negatives)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, *parts: str) -> None:
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
