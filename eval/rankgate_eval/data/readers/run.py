"""Reads and writes TREC runs: what some system returned for each query, best first."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from rankgate.errors import InputError
from rankgate.texts import whole_file
from rankgate_eval.data.raw import RawDataset
from rankgate_eval.data.readers.lines import numbered_lines
from rankgate_eval.errors import DatasetError
from rankgate_eval.finding import Finding, Place


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
        name: of the file, without its suffixes.
        lists: query id to passage ids, best first.
        unknown: rows whose passage the corpus does not have; they are kept, as irrelevant.
        warnings: what is doubtful, such as ranks that disagree with the scores.
    """

    name: str
    lists: Mapping[str, tuple[str, ...]]
    unknown: int = 0
    warnings: tuple[Finding, ...] = ()

    def doubts(self) -> list[str]:
        """The warnings as sentences, one for each kind, with the first file and line."""
        kinds: dict[str, list[Finding]] = {}
        for warning in self.warnings:
            kinds.setdefault(warning.code, []).append(warning)
        return [
            f"{found[0]}"
            + ("" if len(found) == 1 else f" ({len(found)} such warnings, code {code}.)")
            for code, found in kinds.items()
        ]


def read_run(
    file: str | Path,
    *,
    passages: Collection[str] | None = None,
    queries: Collection[str] | None = None,
    texts_needed: bool = True,
) -> Run:
    """Read lines of query, Q0, passage, rank, score, tag.

    The order is trec_eval's, so that the numbers are: by score as a 32-bit float, the highest
    first, ties by passage id, the last first. Its rank column is read by nobody; where it says
    something else, that is a warning.

    Args:
        file: plain or gzipped.
        passages: ids that exist. None: not checked.
        queries: ids that exist; others are a warning. None: not checked.
        texts_needed: whether a passage that does not exist is an error, because something will
            read its text. Otherwise it counts as irrelevant, which is a warning, unless no
            passage at all exists.

    Raises:
        DatasetError: unreadable rows, scores that are not finite, a passage that stands twice
            for a query, unknown passages, or an empty file; all of them together.
    """
    source = Path(file)
    raw = RawDataset(name=str(source))
    rows: dict[str, list[_Row]] = {}
    seen: dict[tuple[str, str], Place] = {}
    strange: dict[str, Place] = {}
    ghosts: dict[str, Place] = {}
    unknown = total = 0
    for place, text in numbered_lines(source, raw):
        cells = text.split()
        if len(cells) != 6:
            raw.error(
                "unreadable",
                f"expected query, Q0, passage, rank, score, tag; got {text[:80]!r}",
                place,
            )
            continue
        query, _, passage, rank_cell, score_cell, _ = cells
        try:
            rank, score = int(rank_cell), float(np.float32(score_cell))
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
        elif texts_needed and passages is not None and passage not in passages:
            raw.error("unknown_passage", f"passage {passage!r} is not in the corpus", place)
        else:
            total += 1
            if passages is not None and passage not in passages:
                unknown += 1
                ghosts.setdefault(passage, place)
            seen[query, passage] = place
            rows.setdefault(query, []).append(
                _Row(passage=passage, rank=rank, score=score, place=place)
            )
            if queries is not None and query not in queries:
                strange.setdefault(query, place)
    if not rows and not raw.errors:
        raw.error("empty", "no row in it", Place(file=str(source)))
    if unknown and unknown == total:
        raw.error(
            "unknown_passage",
            f"none of its passages is in the corpus, first {next(iter(ghosts))!r}; the corpus has "
            f"ids such as {next(iter(passages or ()), '')!r}",
            next(iter(ghosts.values())),
        )
    if rows and len(strange) == len(rows):
        raw.error(
            "unknown_query",
            f"none of its queries is in the data set, first {next(iter(strange))!r}; the data set "
            f"has ids such as {next(iter(queries or ()), '')!r}",
            next(iter(strange.values())),
        )
    if raw.errors:
        raise DatasetError(raw.name, raw.errors)
    for passage, place in ghosts.items():
        message = f"passage {passage!r} is not in the corpus; it counts as irrelevant"
        raw.warn("unknown_passage", message, place)
    for query, place in strange.items():
        raw.warn("unknown_query", f"query {query!r} is not in the data set; left out", place)
    lists, flat = {}, 0
    for query, found in rows.items():
        if query in strange:
            continue
        ordered = sorted(found, key=lambda r: (r.score, r.passage.encode()), reverse=True)
        lists[query] = tuple(row.passage for row in ordered)
        wrong = [(a, b) for a, b in pairwise(ordered) if a.rank > b.rank]
        flat += bool(wrong) and ordered[0].score == ordered[-1].score
        ties = [b.place for a, b in wrong if a.score == b.score]
        if len(ties) < len(wrong):
            raw.warn(
                "ranks_disagree",
                f"the ranks of query {query!r} disagree with its scores; scores are followed, as "
                "by trec_eval",
                next(b.place for a, b in wrong if a.score != b.score),
            )
        if ties:
            raw.warn(
                "ties",
                f"query {query!r} has equal scores under different ranks; trec_eval's order is "
                "followed, by passage id, the last first. Write scores that differ, also as "
                "32-bit floats, to keep your own.",
                ties[0],
            )
    if texts_needed and 2 * flat > len(lists):
        raw.error(
            "ties",
            f"the scores of {flat} of {len(lists)} lists are all alike, so their order stands in "
            "the rank column alone, which trec_eval does not read. Write scores that fall with "
            "the rank.",
            Place(file=str(source)),
        )
        raise DatasetError(raw.name, raw.errors)
    return Run(name=_stem(source), lists=lists, unknown=unknown, warnings=tuple(raw.warnings))


def write_run(file: str | Path, lists: Mapping[str, Sequence[str]], *, tag: str) -> None:
    """Write lists of passage ids, best first, so that trec_eval reads them in this order.

    The score of a passage is how many stand at its place or behind: it says nothing else. A query
    with an empty list has no line.

    Raises:
        InputError: an id is empty or has white space in it, which the format cannot hold.
    """
    bad = next(
        (i for q, ids in lists.items() if ids for i in (q, *ids) if len(i.split()) != 1), None
    )
    if bad is not None:
        raise InputError(f"the id {bad!r} has white space in it, which a TREC run cannot hold")
    with whole_file(Path(file)) as part, part.open("w", encoding="utf-8") as stream:
        for query, ids in lists.items():
            for rank, passage in enumerate(ids, start=1):
                stream.write(f"{query} Q0 {passage} {rank} {len(ids) - rank + 1} {tag}\n")


def _stem(file: Path) -> str:
    """The file's name without `.gz` and the suffix before it."""
    return Path(file.name.removesuffix(".gz")).stem
