"""An ingested collection as the system under test, under the data set's ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rankgate.errors import InputError
from rankgate.profile import Profile
from rankgate.retrieve import Fusion
from rankgate.types import Candidate, FirstStageKind
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.stores.collections import OpenedCollection, open_collection
from rankgate_eval.stores.listing import document_keys


class CollectionStage:
    """An ingested collection as a first stage: what the application's questions are answered from.

    Its chunks stand for the data set's passages: under their own ids where the corpus has any of
    them, as one that `rankgate export-corpus` wrote; else for the documents that they were cut
    from, where the corpus has those by id, source or file name. Of a document's chunks the best
    one stands for it then, and is what the scorer reads.

    A context manager: it is opened on entry, which is also when ids are compared.

    Args:
        name: of the collection; None: the application's usual one.
        data_dir: folder of the index; None: the application's usual one.

    Attributes:
        kind: its candidates have both scores.
        notes: what a reader should know before the numbers.
        profile: what a policy has to be fitted for to fit it.
    """

    kind = FirstStageKind.HYBRID

    def __init__(self, name: str | None, data: Dataset, *, data_dir: Path | None = None) -> None:
        self.name = name
        self.data = data
        self.data_dir = data_dir
        self.fusion: Fusion | None = None
        self.words = f"collection {name}"
        self.notes: tuple[str, ...] = ()
        self.profile = Profile()
        self._open: OpenedCollection | None = None
        self._id_of: dict[str, str] = {}

    def __enter__(self) -> CollectionStage:
        opened = open_collection(self.name, data_dir=self.data_dir, fusion=self.fusion)
        try:
            self.words, self.profile = opened.words, opened.profile
            self._compare(opened)
        except BaseException:
            opened.__exit__(None, None, None)
            raise
        self._open = opened
        return self

    def __exit__(self, *error: object) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """What a question finds, under the data set's ids, no document twice.

        Raises:
            InputError: it is not open.
        """
        if self._open is None:
            raise InputError(f"{self.words} is not open: use it as a context manager")
        found: dict[str, Candidate] = {}
        for candidate in self._open.candidates(query, k):
            identifier = self._id_of.get(candidate.id, candidate.id)
            found.setdefault(identifier, replace(candidate, id=identifier, rank=len(found) + 1))
        return list(found.values())

    def _compare(self, opened: OpenedCollection) -> None:
        """See which ids are the data set's, and what of it the collection lacks."""
        corpus = self.data.corpus
        documents: dict[str, list[str]] = {}
        for passage in opened.passages():
            documents[passage.id] = document_keys(passage)
        by_chunk = any(i in corpus for i in documents)
        if not by_chunk:
            self._id_of = {
                i: next(key for key in keys if key in corpus)
                for i, keys in documents.items()
                if any(key in corpus for key in keys)
            }
        if not by_chunk and not self._id_of:
            example, keys = next(iter(documents.items()))
            raise InputError(
                f"nothing in {self.words} is in the corpus of {self.data.name}: its passages have "
                f"ids such as {example!r} and documents such as {', '.join(map(repr, keys)) or '-'}"
                f", the corpus has ids such as {next(iter(corpus), '')!r}. Quote passages in the "
                "questions instead and leave the corpus out, or label the passages that "
                "`rankgate export-corpus` writes."
            )
        there = set(documents) if by_chunk else set(self._id_of.values())
        wanted = {p for q in self.data.queries for p in self.data.relevant(q)}
        gone = [p for p in wanted if p not in there]
        notes = []
        if not by_chunk:
            notes.append(
                "Judgements are of documents: the best chunk of each stands for it, and is all "
                "of it that the scorer reads."
            )
        if gone:
            notes.append(
                f"{len(gone)} of {len(wanted)} relevant passages, such as {min(gone)!r}, are not "
                f"in {self.words}, so nothing can find them; ingest them, or judge anew."
            )
        self.notes = tuple(notes)
