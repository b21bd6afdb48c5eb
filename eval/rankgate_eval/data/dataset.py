"""A retrieval data set: passages, queries, judgements, splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankgate.errors import InputError
from rankgate_eval.data.dataset_check import check_dataset
from rankgate_eval.data.groups import document_groups
from rankgate_eval.data.kinds import Kind, Unjudged, kind_of, unjudged_as
from rankgate_eval.data.raw import RawDataset
from rankgate_eval.data.readers.beir import read_beir


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Passages, queries and who is relevant to whom.

    Attributes:
        corpus: passage id to text, the title before it.
        qrels: query id to passage id to relevance (> 0 is relevant).
        splits: split name to query ids; empty where there are none.
        fields: query id to whatever else stood in its row, such as `answer` or `type`.
        documents: passage id to the document it was cut from, as far as that is known.
        unjudged: what becomes of queries without any judgement.
        groups: query id to document group: queries that share a relevant passage or document, or
            have the same words, directly or over others. Computed.
    """

    name: str
    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    splits: Mapping[str, tuple[str, ...]]
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    unjudged: Unjudged = Unjudged.IGNORE
    groups: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "unjudged", unjudged_as(self.unjudged))
        relevant = {query: self.relevant(query) for query in self.queries}
        groups = document_groups(self.queries, relevant, self.documents, self.queries)
        object.__setattr__(self, "groups", groups)

    @classmethod
    def load(
        cls, folder: str | Path, *, queries: str | None = None, qrels: str | None = None
    ) -> Dataset:
        """Read a BEIR folder and check it; `rankgate_eval.data.loading` reads other forms too.

        Args:
            folder: with corpus.jsonl[.gz], queries.jsonl, qrels.tsv or qrels/*.tsv and, where
                there are splits, splits.json.
            queries: another file of queries in it, such as `queries-typos.jsonl`.
            qrels: another file of judgements in it.

        Raises:
            DatasetError: the data set has errors; the message has them with file and line.
        """
        raw = read_beir(folder, queries=queries, qrels=qrels)
        check_dataset(raw).raise_for_errors()
        return cls.from_raw(raw)

    @classmethod
    def from_raw(cls, raw: RawDataset, *, unjudged: Unjudged = Unjudged.IGNORE) -> Dataset:
        """Build from rows in which `check_dataset` found no error."""
        queries = {row.id: row.text for row in raw.queries}
        qrels: dict[str, dict[str, int]] = {}
        there = {row.id for row in raw.passages}
        for judgement in raw.judgements:
            if there and judgement.passage not in there:  # judgements alone bring no passages
                continue
            qrels.setdefault(judgement.query, {})[judgement.passage] = judgement.grade
        splits: dict[str, dict[str, None]] = {}
        for row in raw.splits:
            inside = splits.setdefault(row.split, {})
            if row.query in queries:
                inside[row.query] = None
        return cls(
            name=raw.name,
            corpus={row.id: row.text for row in raw.passages},
            queries=queries,
            qrels=qrels,
            splits={name: tuple(ids) for name, ids in splits.items()},
            fields={row.id: row.fields for row in raw.queries if row.fields},
            documents={row.id: row.document for row in raw.passages if row.document is not None},
            unjudged=unjudged,
        )

    def relevant(self, query_id: str) -> tuple[str, ...]:
        """Ids of the passages that are relevant to a query; none for an unjudged one."""
        return tuple(p for p, grade in self.qrels.get(query_id, {}).items() if grade > 0)

    def query_ids(self, split: str | None = None) -> list[str]:
        """Ids of a split's queries, in file order; None: of all queries.

        Raises:
            InputError: no such split.
        """
        if split is None:
            return list(self.queries)
        if split not in self.splits:
            have = ", ".join(self.splits) or "none"
            raise InputError(f"{self.name} has no split {split!r}; it has: {have}")
        return list(self.splits[split])

    def kind_of(self, query_id: str) -> Kind:
        """What is known of a query."""
        return kind_of(self.qrels.get(query_id), self.fields.get(query_id, {}))

    def judged(self, split: str | None = None) -> list[str]:
        """Ids of a split's queries that have a relevant passage, in file order.

        Raises:
            InputError: no such split.
        """
        return [q for q in self.query_ids(split) if self.kind_of(q) is Kind.RELEVANT]

    def counted_0(self, split: str | None = None) -> int:
        """How many of a split's queries nobody judged, where `unjudged` is `irrelevant`.

        An average over all of a split has 0 for each of them.
        """
        if self.unjudged is not Unjudged.IRRELEVANT:
            return 0
        return sum(self.kind_of(q) is Kind.UNJUDGED for q in self.query_ids(split))

    def unanswerable(self, split: str | None = None) -> list[str]:
        """Ids of a split's queries that the floor should refuse, in file order.

        They are said to be unanswerable, or all that was judged for them is irrelevant, or nobody
        judged them and `unjudged` is `unanswerable`.

        Raises:
            InputError: no such split.
        """
        refused = {Kind.UNANSWERABLE, Kind.GRADED_0}
        if self.unjudged is Unjudged.UNANSWERABLE:
            refused.add(Kind.UNJUDGED)
        return [q for q in self.query_ids(split) if self.kind_of(q) in refused]

    def stratum_of(self, query_id: str) -> str:
        """Its kind, and of an unjudged one what its field `answerability` says."""
        kind = self.kind_of(query_id)
        said = self.fields.get(query_id, {}).get("answerability")
        return kind.value if said is None or kind is not Kind.UNJUDGED else f"{kind}:{said}"

    def columns(
        self, names: Iterable[str], query_ids: Sequence[str]
    ) -> dict[str, list[str | None]]:
        """Fields by name as (n,) words of these queries; None where a query has none."""
        rows = [self.fields.get(q, {}) for q in query_ids]
        return {
            name: [None if row.get(name) is None else str(row[name]) for row in rows]
            for name in names
        }

    def answers(self, query_id: str) -> tuple[str, ...]:
        """Reference answers of a query, from its fields `answer` and `answers`; often none."""
        known = self.fields.get(query_id, {})
        one, several = known.get("answer"), known.get("answers")
        found = [] if one is None else [one]
        found += [] if several is None else list(several)
        return tuple(dict.fromkeys(found))

    def group_of(self, query_id: str) -> str:
        """The document group of a query.

        Raises:
            InputError: no such query.
        """
        if query_id not in self.groups:
            raise InputError(f"{self.name} has no query {query_id!r}")
        return self.groups[query_id]
