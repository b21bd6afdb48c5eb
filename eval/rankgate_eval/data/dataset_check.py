"""Checks a data set before anything is measured on it: all errors together, with their lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankgate_eval.data.groups import document_groups
from rankgate_eval.data.kinds import Kind, Unjudged, answerable_in_words, kind_of
from rankgate_eval.data.normalise import normalised
from rankgate_eval.data.raw import PassageRow, QueryRow, RawDataset
from rankgate_eval.data.splits_check import SHARING, check_splits
from rankgate_eval.errors import DatasetError
from rankgate_eval.finding import Finding, Place

_SURE = ("1", "1.0")
_BEFORE_NUMBERS = (
    *SHARING,
    "unjudged_queries",
    "graded_0_queries",
    "unanswerable_but_judged",
    "unequal_chances",
    "gold_only_corpus",
)

_SHOWN_ERRORS = 20
_SHOWN_A_KIND = 5
# One group with more of the queries than this leaves little to resample or to cross-fit.
_LARGE_GROUP = 0.2
_BECOME = {
    Unjudged.IGNORE: "left out. --unjudged irrelevant tells the averages with 0 for them too, "
    "--unjudged unanswerable counts answers to them as wrong; a query that people found "
    'unanswerable says so in its row, by "answerability": "unanswerable"',
    Unjudged.IRRELEVANT: "the averages with 0 for them are told beside those without, as asked",
    Unjudged.UNANSWERABLE: "taken as unanswerable for the floor, as asked, and left out of the "
    "ranking metrics",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """What the check found.

    Attributes:
        errors: what makes it unusable; none where it can be evaluated on.
        warnings: what a reader of the results should know.
        counts: passages, queries, judgements, judged_queries (with a relevant passage),
            unanswerable_queries, graded_0_queries, unjudged_queries (see `Kind`), groups,
            largest_group (queries of the largest document group).
        splits: by split: queries, judged, unanswerable, graded_0, unjudged.
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

    @property
    def said_first(self) -> tuple[str, ...]:
        """Warnings without which the numbers would be read wrongly: what splits share, ..."""
        return tuple(str(w) for w in self.shown_warnings() if w.code in _BEFORE_NUMBERS)

    def raise_for_errors(self) -> None:
        """Raise what makes the data set unusable.

        Raises:
            DatasetError: there are errors; the message holds the first 20 and a count.
        """
        if self.errors:
            raise DatasetError(self.name, self.errors)

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


def check_dataset(raw: RawDataset, *, unjudged: Unjudged = Unjudged.IGNORE) -> DatasetReport:
    """Check what a reader read; `raw` is not changed.

    Args:
        unjudged: what will become of queries without any judgement.
    """
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
    grades = _judgements(raw, passages, queries, errors, warnings)
    relevant = {
        q: found for q, known in grades.items() if (found := [p for p, g in known.items() if g > 0])
    }
    if not relevant and queries and not raw.errors:
        some = f"none of {len(raw.judgements)} is usable and relevant" if raw.judgements else "none"
        if 0 < raw.highest_grade < raw.min_grade:
            some += f": the highest grade is {raw.highest_grade}, --min-grade {raw.min_grade}"
        errors.append(
            Finding(
                code="empty_qrels",
                message=f"{raw.name} has no relevant passage for any query (judgements: {some}); "
                "without them nothing can be measured",
            )
        )
    documents = {p.id: p.document for p in raw.passages if p.document is not None}
    texts = {row.id: row.text for row in raw.queries}
    groups = document_groups(queries, relevant, documents, texts)
    sizes = Counter(groups[q] for q in queries if q in relevant)
    largest = max(sizes.values(), default=0)
    kinds = {row.id: kind_of(grades.get(row.id), row.fields) for row in raw.queries}
    if relevant:
        warnings += _kinds(raw.queries, kinds, relevant, unjudged)
    if len(sizes) > 1 and largest > _LARGE_GROUP * len(relevant):
        warnings.append(
            Finding(
                code="large_group",
                message=f"{largest} of {len(relevant)} judged queries hang together by shared "
                "relevant passages; intervals over document groups will be wide",
            )
        )
    splits = check_splits(raw, kinds, relevant, warnings)
    counted = Counter(kinds.values())
    return DatasetReport(
        name=raw.name,
        errors=tuple(errors),
        warnings=tuple(warnings),
        counts={
            "passages": len(passages),
            "queries": len(queries),
            "judgements": sum(map(len, grades.values())),
            "judged_queries": len(relevant),
            **{f"{k}_queries": counted[k] for k in Kind if k is not Kind.RELEVANT},
            "groups": len(set(groups.values())),
            "largest_group": largest,
        },
        splits=splits,
    )


def _kinds(
    rows: Sequence[QueryRow],
    kinds: Mapping[str, Kind],
    relevant: Mapping[str, Sequence[str]],
    unjudged: Unjudged,
) -> list[Finding]:
    """What a reader should know of questions without a relevant passage."""
    found = []
    for kind, code, words in (
        (Kind.UNJUDGED, "unjudged_queries", f"have no judgement at all: {_BECOME[unjudged]}"),
        (
            Kind.GRADED_0,
            "graded_0_queries",
            "have judged passages, none of them relevant: the floor should refuse them, and no "
            "ranking metric counts them",
        ),
    ):
        of_it = [row for row in rows if kinds[row.id] is kind]
        if of_it:
            message = f"{len(of_it)} of {len(kinds)} queries (first: {of_it[0].id!r}) {words}"
            found.append(Finding(code=code, message=message, place=of_it[0].place))
    denied = [r for r in rows if r.id in relevant and answerable_in_words(r.fields) is False]
    if denied:
        found.append(
            Finding(
                code="unanswerable_but_judged",
                message=f"{len(denied)} queries (first: {denied[0].id!r}) are said to be "
                "unanswerable and have a relevant passage: they count as answerable",
                place=denied[0].place,
            )
        )
    rare = [r for r in rows if r.id in relevant and str(r.fields.get("propensity", 1)) not in _SURE]
    if rare:
        found.append(
            Finding(
                code="unequal_chances",
                message=f"{len(rare)} queries (first: {rare[0].id!r}) were drawn to be judged with "
                "unequal chances (`propensity`), which are not weighed here: means and fits are of "
                "those that were judged. What holds for all questions of a session `rankgate judge "
                "SESSION --count 0` says",
                place=rare[0].place,
            )
        )
    return found


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
) -> dict[str, dict[str, int]]:
    """Query id to passage id to grade, of the judgements that can be used."""
    grades: dict[str, dict[str, int]] = {}
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
            # Corpora lose passages; what is judged of the others still holds.
            warnings.append(
                Finding(
                    code="unknown_passage",
                    message=f"passage {row.passage!r} is not in the corpus; its judgement is left "
                    "out",
                    place=row.place,
                )
            )
        if no_query or no_passage or row.query not in queries:
            continue
        known = grades.setdefault(row.query, {})
        if row.passage in known:
            differs = known[row.passage] != row.grade
            (errors if differs else warnings).append(
                Finding(
                    code="contradicting_judgement" if differs else "duplicate_judgement",
                    message=f"passage {row.passage!r} is judged twice for query {row.query!r}"
                    + (f": {known[row.passage]} and {row.grade}" if differs else ""),
                    place=row.place,
                )
            )
            continue
        known[row.passage] = row.grade
    return grades
