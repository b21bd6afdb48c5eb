"""Checks a data set before anything is measured on it: all errors together, with their lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rankgate_eval.data.groups import document_groups
from rankgate_eval.data.normalise import normalised
from rankgate_eval.data.raw import PassageRow, QueryRow, RawDataset
from rankgate_eval.errors import DatasetError
from rankgate_eval.finding import Finding, Place

__all__ = ["DatasetReport", "check_dataset"]

_SHOWN_ERRORS = 20
_SHOWN_A_KIND = 5
# One group with more of the queries than this leaves little to resample or to cross-fit.
_LARGE_GROUP = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """What the check found.

    Attributes:
        name: of the data set.
        errors: what makes it unusable; none where it can be evaluated on.
        warnings: what a reader of the results should know.
        counts: passages, queries, judgements, judged_queries, unjudged_queries, groups,
            largest_group (queries of the largest document group).
        splits: by split: queries, judged, unjudged.
    """

    name: str
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    counts: Mapping[str, int]
    splits: Mapping[str, Mapping[str, int]]

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    @property
    def warning_counts(self) -> dict[str, int]:
        """Number of warnings by code."""
        return dict(Counter(w.code for w in self.warnings))

    def raise_for_errors(self) -> None:
        """Raise what makes the data set unusable.

        Raises:
            DatasetError: there are errors; the message holds the first 20 and a count.
        """
        if self.errors:
            raise DatasetError(self.name, self.errors, shown=_SHOWN_ERRORS)

    def shown_warnings(self) -> list[Finding]:
        """The first five warnings of each code, in order."""
        seen: Counter[str] = Counter()
        shown = []
        for warning in self.warnings:
            seen[warning.code] += 1
            if seen[warning.code] <= _SHOWN_A_KIND:
                shown.append(warning)
        return shown

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: at most 20 errors, five warnings of each code, all counted."""
        return {
            "name": self.name,
            "ok": self.ok,
            "counts": dict(self.counts),
            "splits": {name: dict(counts) for name, counts in self.splits.items()},
            "error_count": len(self.errors),
            "errors": [e.to_dict() for e in self.errors[:_SHOWN_ERRORS]],
            "warning_counts": self.warning_counts,
            "warnings": [w.to_dict() for w in self.shown_warnings()],
        }


def check_dataset(raw: RawDataset) -> DatasetReport:
    """Check what a reader read; `raw` is not changed."""
    errors, warnings = list(raw.errors), list(raw.warnings)
    passages = _unique(raw.passages, "passage", errors)
    queries = _unique(raw.queries, "query", errors)
    _texts(raw.passages, "passage", warnings)
    _texts(raw.queries, "query", warnings)
    # Where a file could not be read, that is the error, and not what follows from it.
    if not raw.errors:
        for what, rows in (("passages", passages), ("queries", queries)):
            if not rows:
                message = f"{raw.name} has no {what} at all"
                errors.append(Finding(code=f"no_{what}", message=message))
    relevant, pairs = _judgements(raw, passages, queries, errors, warnings)
    documents = {p.id: p.document for p in raw.passages if p.document is not None}
    groups = document_groups(queries, relevant, documents)
    sizes = Counter(groups[q] for q in queries if q in relevant)
    largest = max(sizes.values(), default=0)
    unjudged = [row for row in raw.queries if row.id not in relevant]
    if unjudged and relevant:
        warnings.append(
            Finding(
                code="unjudged_queries",
                message=f"{len(unjudged)} of {len(queries)} queries have no relevant passage "
                f"(first: {unjudged[0].id!r}): taken as unanswerable for the floor, left out of "
                "the ranking metrics",
                place=unjudged[0].place,
            )
        )
    if len(sizes) > 1 and largest > _LARGE_GROUP * len(relevant):
        warnings.append(
            Finding(
                code="large_group",
                message=f"{largest} of {len(relevant)} judged queries hang together by shared "
                "relevant passages; intervals over document groups will be wide",
            )
        )
    splits = _splits(raw, queries, relevant, warnings)
    return DatasetReport(
        name=raw.name,
        errors=tuple(errors),
        warnings=tuple(warnings),
        counts={
            "passages": len(passages),
            "queries": len(queries),
            "judgements": pairs,
            "judged_queries": len(relevant),
            "unjudged_queries": len(queries) - len(relevant),
            "groups": len(set(groups.values())),
            "largest_group": largest,
        },
        splits=splits,
    )


def _unique(
    rows: Sequence[PassageRow | QueryRow], what: str, errors: list[Finding]
) -> dict[str, Place]:
    """Ids with the place of their first row; later ones are errors."""
    first: dict[str, Place] = {}
    for row in rows:
        if row.id in first:
            errors.append(
                Finding(
                    code=f"duplicate_{what}_id",
                    message=f"{what} id {row.id!r} stands already in {first[row.id]}",
                    place=row.place,
                )
            )
        first.setdefault(row.id, row.place)
    return first


def _texts(rows: Sequence[PassageRow | QueryRow], what: str, warnings: list[Finding]) -> None:
    """Warn of empty texts and of equal ones."""
    first: dict[str, PassageRow | QueryRow] = {}
    for row in rows:
        form = normalised(row.text)
        if not form:
            warnings.append(
                Finding(
                    code=f"empty_{what}", message=f"{what} {row.id!r} has no text", place=row.place
                )
            )
        elif form in first and first[form].id != row.id:
            warnings.append(
                Finding(
                    code=f"duplicate_{what}",
                    message=f"{what} {row.id!r} has the text of {first[form].id!r} "
                    f"({first[form].place})",
                    place=row.place,
                )
            )
        first.setdefault(form, row)


def _judgements(
    raw: RawDataset,
    passages: Mapping[str, Place],
    queries: Mapping[str, Place],
    errors: list[Finding],
    warnings: list[Finding],
) -> tuple[dict[str, list[str]], int]:
    """Query id to relevant passages, and the number of judgements that can be used."""
    relevant: dict[str, list[str]] = {}
    grades: dict[tuple[str, str], int] = {}
    for row in raw.judgements:
        # Of a file that could not be read at all, every id would be unknown.
        no_query = bool(queries) and row.query not in queries
        no_passage = bool(passages) and row.passage not in passages
        if no_query:
            errors.append(
                Finding(
                    code="unknown_query",
                    message=f"query {row.query!r} is not among the queries",
                    place=row.place,
                )
            )
        if no_passage:
            errors.append(
                Finding(
                    code="unknown_passage",
                    message=f"passage {row.passage!r} is not in the corpus",
                    place=row.place,
                )
            )
        if no_query or no_passage or row.query not in queries:
            continue
        pair = (row.query, row.passage)
        if pair in grades:
            differs = grades[pair] != row.grade
            (errors if differs else warnings).append(
                Finding(
                    code="contradicting_judgement" if differs else "duplicate_judgement",
                    message=f"passage {row.passage!r} is judged twice for query {row.query!r}"
                    + (f": {grades[pair]} and {row.grade}" if differs else ""),
                    place=row.place,
                )
            )
            continue
        grades[pair] = row.grade
        if row.grade > 0:
            relevant.setdefault(row.query, []).append(row.passage)
    if not relevant and queries and not raw.errors:
        some = f"none of {len(raw.judgements)} is usable and above 0" if raw.judgements else "none"
        errors.append(
            Finding(
                code="empty_qrels",
                message=f"{raw.name} has no relevant passage for any query (judgements: {some}); "
                "without them nothing can be measured",
            )
        )
    return relevant, len(grades)


def _splits(
    raw: RawDataset,
    queries: Mapping[str, Place],
    relevant: Mapping[str, Iterable[str]],
    warnings: list[Finding],
) -> dict[str, dict[str, int]]:
    """Counts by split; warns of unknown and repeated queries and of shared passages."""
    members: dict[str, dict[str, Place]] = {}
    for row in raw.splits:
        inside = members.setdefault(row.split, {})
        if row.query not in queries:
            warnings.append(
                Finding(
                    code="unknown_split_query",
                    message=f"split {row.split!r} names query {row.query!r}, which does not "
                    "exist; left out",
                    place=row.place,
                )
            )
        elif row.query in inside:
            warnings.append(
                Finding(
                    code="repeated_split_query",
                    message=f"split {row.split!r} names query {row.query!r} twice; counted once",
                    place=row.place,
                )
            )
        else:
            inside[row.query] = row.place
    used = {s: {p for q in inside for p in relevant.get(q, ())} for s, inside in members.items()}
    for a, b in combinations(members, 2):
        both = [q for q in members[a] if q in members[b]]
        if both:
            warnings.append(
                Finding(
                    code="splits_share_queries",
                    message=f"splits {a!r} and {b!r} share {len(both)} queries, such as "
                    f"{both[0]!r}: what is fitted on one has seen the other",
                    place=members[b][both[0]],
                )
            )
        shared = sorted(used[a] & used[b])
        if shared:
            warnings.append(
                Finding(
                    code="splits_share_passages",
                    message=f"splits {a!r} and {b!r} share {len(shared)} relevant passages, such "
                    f"as {shared[0]!r}: what is fitted on one has seen the other",
                )
            )
    counts = {}
    for split, inside in members.items():
        judged = sum(q in relevant for q in inside)
        if not judged:
            warnings.append(
                Finding(code="unjudged_split", message=f"split {split!r} has no judged query")
            )
        counts[split] = {"queries": len(inside), "judged": judged, "unjudged": len(inside) - judged}
    return counts
