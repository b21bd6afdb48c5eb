"""Asks the system under test for every query's candidates, and survives its failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from rankgate.errors import InputError
from rankgate.retrieve import Progress
from rankgate.types import Candidate
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.errors import SystemFailedError
from rankgate_eval.run.system import FirstStage

logger = logging.getLogger("rankgate")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStageResult:
    """What the system gave for one query.

    Attributes:
        candidates: best first, ranks 1..n, no passage twice; none where it failed. The first k
            are what was asked for by k, as users get them; then what only asking deeper found.
        ms: milliseconds that the call for k took.
        error: why it failed; None where it did not.
        repeated: results left out because their passage stood further up.
        unknown: results whose id is not in the corpus; they are kept, and count as irrelevant.
        deeper_error: why asking deeper failed; what was found by k stands nevertheless.
    """

    query_id: str
    query: str
    candidates: tuple[Candidate, ...]
    ms: float
    error: str | None = None
    repeated: int = 0
    unknown: int = 0
    deeper_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """All queries' candidates, in the order in which they were asked for.

    Attributes:
        found: query id to what came back; failed queries included, so that they count as 0.
        k: how many candidates were asked for, beyond the head included.
    """

    found: Mapping[str, FirstStageResult]
    k: int

    @property
    def failures(self) -> dict[str, str]:
        """Query id to the error, of the queries that failed."""
        return {q: f.error for q, f in self.found.items() if f.error is not None}


def collect(
    stage: FirstStage,
    data: Dataset,
    query_ids: Sequence[str],
    *,
    k: int,
    depth: int | None = None,
    max_failures: float = 0.05,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Collected:
    """Ask for every query's candidates.

    The k candidates that a second stage reads are asked for by that number, as in production: a
    system that merges lists, or searches approximately, may have another head where it is asked
    for more. What lies deeper is asked for apart, and only stands behind them.

    What the system raises is recorded with the query and counts as finding nothing; it is
    never left out of a mean. Stops as soon as more than `max_failures` of all queries failed.
    A system that will not be asked deeper keeps what it gave for k; where that is so for more
    than `max_failures` of all queries, the rest is not asked deeper at all.

    Args:
        k: candidates that a second stage reads, at least 1; a longer list is cut.
        depth: how far down to look, for the recall curve, at least k; None: k.
        max_failures: share of the queries in [0, 1] that may fail.

    Raises:
        InputError: an unknown query, or k or max_failures out of range.
        SystemFailedError: too many failures, or no result of any query is in the corpus.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    if depth is not None and depth < k:
        raise InputError(f"depth must be at least k ({k}), got {depth}")
    deep = k if depth is None else depth
    if not 0.0 <= max_failures <= 1.0:
        raise InputError(f"max_failures is a share in [0, 1], got {max_failures}")
    strange = [q for q in query_ids if q not in data.queries]
    if strange:
        raise InputError(f"{data.name} has no query {strange[0]!r}")
    found: dict[str, FirstStageResult] = {}
    failed: list[str] = []
    shallow = 0
    total = len(dict.fromkeys(query_ids))
    for query_id in dict.fromkeys(query_ids):
        one = _ask(stage, data, query_id, k, k if shallow > max_failures * total else deep, clock)
        found[query_id] = one
        shallow += one.deeper_error is not None
        if one.error is not None:
            failed.append(query_id)
            logger.warning("query %s: the system under test failed: %s", query_id, one.error)
            if len(failed) > max_failures * total:
                first = found[failed[0]]
                raise SystemFailedError(
                    f"the system under test failed on {len(failed)} of the {len(found)} queries "
                    f"asked so far, more than {max_failures:.0%} of all {total}. First: query "
                    f"{first.query_id!r}: {first.error}. Mend it "
                    "(or, from Python, raise max_failures)."
                )
        if progress is not None:
            progress(len(found), total)
    results = sum(len(f.candidates) for f in found.values())
    if data.corpus and results and sum(f.unknown for f in found.values()) == results:
        example = next(f.candidates[0].id for f in found.values() if f.candidates)
        known = next(iter(data.corpus))
        raise SystemFailedError(
            f"none of the {results} results has an id of the corpus: the system says {example!r}, "
            f"the corpus {known!r}. Return the corpus's ids (for LangChain: id_key names the "
            "metadata key that holds them)."
        )
    return Collected(found=found, k=deep)


def _ask(
    stage: FirstStage,
    data: Dataset,
    query_id: str,
    k: int,
    depth: int,
    clock: Callable[[], float],
) -> FirstStageResult:
    query = data.queries[query_id]
    by_id = getattr(stage, "candidates_for", None)

    def ask(wanted: int) -> list[Candidate]:
        rows = stage.candidates(query, wanted) if by_id is None else by_id(query_id, query, wanted)
        return _checked(rows)

    ms: float | None = None
    begun = clock()
    try:
        listed = ask(k)
        ms = (clock() - begun) * 1000.0
        unique = _unique(listed)
        repeated = len(listed) - len(unique)
        head = unique[:k]
    except Exception as exc:  # the user's system may raise anything; one query is not the run
        ms = (clock() - begun) * 1000.0 if ms is None else ms
        error = f"{type(exc).__name__}: {exc}"
        return FirstStageResult(query_id=query_id, query=query, candidates=(), ms=ms, error=error)
    deeper, refused = listed, None
    # A system that gives fewer than k has no more; one that gives all it has was read whole.
    if depth > k and len(listed) == k:
        try:
            deeper = ask(depth)
        except Exception as exc:  # users never ask for so many: what they get has been read
            refused = f"{type(exc).__name__}: {exc}"
    kept = tuple(
        candidate if candidate.rank == rank else replace(candidate, rank=rank)
        for rank, candidate in enumerate(_unique([*head, *deeper])[:depth], start=1)
    )
    return FirstStageResult(
        query_id=query_id,
        query=query,
        candidates=kept,
        ms=ms,
        repeated=repeated,
        unknown=sum(candidate.id not in data.corpus for candidate in kept),
        deeper_error=refused,
    )


def _unique(listed: Sequence[Candidate]) -> list[Candidate]:
    """Each passage once, where it first stands."""
    unique: dict[str, Candidate] = {}
    for candidate in listed:
        unique.setdefault(candidate.id, candidate)
    return list(unique.values())


def _checked(rows: object) -> list[Candidate]:
    if isinstance(rows, str | bytes) or not isinstance(rows, Sequence):
        raise InputError(f"expected a list of candidates, got {type(rows).__name__}")
    for rank, row in enumerate(rows, start=1):
        if not isinstance(row, Candidate):
            raise InputError(
                f"result {rank} must be a rankgate.Candidate, got {type(row).__name__}"
            )
    return list(rows)


def reached_depth(
    found: Collection[FirstStageResult], *, k: int, depth: int, max_failures: float
) -> tuple[int, str | None]:
    """How deep the curve can go, and what a reader should know of it.

    Args:
        found: of every query, by `collect`.
        k: candidates that the second stage reads.
        depth: that were asked for beyond them.
        max_failures: share of the queries up to which the curve goes on where asking failed.

    Returns:
        `depth`, or k where asking deeper failed too often; and a sentence where it failed at all.
    """
    refused = [f for f in found if f.deeper_error is not None]
    if not refused:
        return depth, None
    few = len(refused) <= max_failures * len(found) and len(refused) < len(found)
    consequence = (
        f"for these only {k} count, so the recall curve is a lower bound beyond {k}"
        if few
        else f"so the recall curve ends at {k}"
    )
    first = refused[0]
    return depth if few else k, (
        f"Asked for {depth} candidates instead of {k}, the first stage failed on {len(refused)} "
        f"queries, {consequence}; what it found by {k} is measured as usual. "
        f"First: {first.query_id!r}: {first.deeper_error}"
    )
