"""Reads a TREC run: what some system returned for each query, best first."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rankgate_eval.data.raw import RawDataset
from rankgate_eval.data.readers.lines import numbered_lines
from rankgate_eval.errors import DatasetError
from rankgate_eval.finding import Finding, Place

__all__ = ["Run", "read_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    passage: str
    rank: int
    score: float
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A system's lists. Only their order counts: the scores' meaning is not known.

    Attributes:
        name: the run's tag.
        lists: query id to passage ids, best first.
        warnings: what is doubtful, such as ranks that disagree with the scores.
    """

    name: str
    lists: Mapping[str, tuple[str, ...]]
    warnings: tuple[Finding, ...] = ()


def read_run(
    file: str | Path,
    *,
    passages: Collection[str] | None = None,
    queries: Collection[str] | None = None,
) -> Run:
    """Read lines of query, Q0, passage, rank, score, tag.

    Sorted by score, the highest first; ties by the rank column, then by line. (trec_eval
    ignores ranks and breaks ties by passage id, which no system ever meant.)

    Args:
        file: plain or gzipped.
        passages: ids that exist; others are errors. None: not checked.
        queries: ids that exist; others are a warning. None: not checked.

    Raises:
        DatasetError: unreadable rows, scores that are not finite, a passage that stands twice
            for a query, unknown passages, or an empty file; all of them together.
    """
    source = Path(file)
    raw = RawDataset(name=str(source))
    rows: dict[str, list[_Row]] = {}
    seen: dict[tuple[str, str], Place] = {}
    tag = source.stem
    strange: dict[str, Place] = {}
    for place, text in numbered_lines(source, raw):
        cells = text.split()
        if len(cells) != 6:
            raw.error(
                "unreadable",
                f"expected query, Q0, passage, rank, score, tag; got {text[:80]!r}",
                place,
            )
            continue
        query, _, passage, rank_cell, score_cell, tag = cells
        try:
            rank, score = int(rank_cell), float(score_cell)
        except ValueError:
            raw.error(
                "wrong_type",
                f"rank and score must be numbers, got {rank_cell!r} and {score_cell!r}",
                place,
            )
            continue
        if not math.isfinite(score):
            raw.error("bad_score", f"the score must be finite, got {score_cell}", place)
        elif (query, passage) in seen:
            raw.error(
                "duplicate",
                f"passage {passage!r} stands twice for query {query!r}, first in line "
                f"{seen[query, passage].line}",
                place,
            )
        elif passages is not None and passage not in passages:
            raw.error("unknown_passage", f"passage {passage!r} is not in the corpus", place)
        else:
            seen[query, passage] = place
            rows.setdefault(query, []).append(
                _Row(passage=passage, rank=rank, score=score, place=place)
            )
            if queries is not None and query not in queries:
                strange.setdefault(query, place)
    if not rows and not raw.errors:
        raw.error("empty", "no row in it", Place(file=str(source)))
    if raw.errors:
        raise DatasetError(raw.name, raw.errors)
    for query, place in strange.items():
        raw.warn("unknown_query", f"query {query!r} is not in the data set; left out", place)
    lists = {}
    for query, found in rows.items():
        if query in strange:
            continue
        ordered = sorted(found, key=lambda row: (-row.score, row.rank))  # stable: then by line
        lists[query] = tuple(row.passage for row in ordered)
        if any(a.rank > b.rank for a, b in pairwise(ordered)):
            raw.warn(
                "ranks_disagree",
                f"the ranks of query {query!r} disagree with its scores; scores are followed",
                found[0].place,
            )
    return Run(name=tag, lists=lists, warnings=tuple(raw.warnings))
