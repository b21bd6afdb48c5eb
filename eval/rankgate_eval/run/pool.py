"""Every query read once: its candidates, the scorer's raw scores of them, the gate's signals.

Retrieval and scoring are what costs. Arms, fits and thresholds are then computed from the pool
as often as they are needed, all on the same candidates.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.signals import Signals, compute_signals
from rankgate.errors import InputError
from rankgate.retrieve import Progress
from rankgate.scorers import ScoreContext, Scorer, Scores
from rankgate.scorers.protocol import Job
from rankgate.scorers.steps import score_many
from rankgate.types import Candidate
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.errors import SystemFailedError
from rankgate_eval.run.collect import Collected, FirstStageResult, collect
from rankgate_eval.run.system import FirstStage

logger = logging.getLogger("rankgate")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pooled:
    """One query as the second stage sees it.

    Attributes:
        found: everything that the first stage gave, with what it gave when asked for more.
        candidates: the first k of it, which the scorer read.
        scores: as the scorer returned them; nothing is `scored` in it where the scorer failed.
        scorer_ms: milliseconds that scoring took, with whatever the scorer has cached.
        scorer_cpu_ms: milliseconds of processor time that it took in this process, all threads.
        scorer_error: why the scorer failed; None where it did not.
    """

    found: FirstStageResult
    candidates: tuple[Candidate, ...]
    scores: Scores
    signals: Signals
    scorer_ms: float
    scorer_cpu_ms: float = 0.0
    scorer_error: str | None = None

    @property
    def query_id(self) -> str:
        """Id of the query."""
        return self.found.query_id

    @property
    def query(self) -> str:
        """Its words."""
        return self.found.query

    @property
    def raw(self) -> npt.NDArray[np.float32]:
        """(n,) raw scores of the candidates, on the scorer's own scale."""
        return self.scores.values

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the scorer read the candidate."""
        return self.scores.scored

    @property
    def first_stage_ms(self) -> float:
        """Milliseconds that the first stage took."""
        return self.found.ms


def read_pool(
    stage: FirstStage,
    data: Dataset,
    query_ids: Sequence[str],
    *,
    scorer: Scorer,
    k: int,
    depth: int | None = None,
    lexicon: Collection[str] | None = None,
    max_failures: float = 0.05,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Pooled]:
    """Retrieve and score the candidates of every query.

    A query on which the first stage or the scorer fails stays in the pool, with its error.

    Args:
        scorer: reads the first k candidates of each query.
        k: candidates that the scorer reads, at least 1.
        depth: candidates asked of the first stage, at least k; None: k.
        lexicon: lower-cased words of the corpus, for the signal `unknown_share`.
        max_failures: share of the queries on which either may fail.
        progress: told after each query; retrieving and scoring count as a half each.

    Returns:
        Query id to what was read, in the order of `query_ids`.

    Raises:
        InputError: k below 1, depth below k, or an unknown query.
        SystemFailedError: first stage or scorer failed on too many queries.
    """
    total = len(query_ids)

    def retrieving(done: int, _: int) -> None:
        if progress is not None:
            progress(done, 2 * total)

    collected = collect(
        stage,
        data,
        query_ids,
        k=k,
        depth=depth,
        max_failures=max_failures,
        progress=retrieving,
        clock=clock,
    )

    def scoring(done: int, _: int) -> None:
        if progress is not None:
            progress(total + done, 2 * total)

    return score_pool(
        collected,
        scorer=scorer,
        k=k,
        lexicon=lexicon,
        max_failures=max_failures,
        progress=scoring,
        clock=clock,
    )


def score_pool(
    collected: Collected,
    *,
    scorer: Scorer,
    k: int,
    lexicon: Collection[str] | None = None,
    max_failures: float = 0.05,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Pooled]:
    """Score candidates that were retrieved before; several scorers may read the same ones.

    Args:
        scorer: reads the first k of each.
        k: as in `read_pool`.
        lexicon: as in `read_pool`.
        max_failures: share of the queries on which the scorer may fail.

    Raises:
        InputError: k below 1.
        SystemFailedError: the scorer failed on too many queries.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    total = len(collected.found)
    pool: dict[str, Pooled] = {}
    failed: list[str] = []
    for query_id, found in collected.found.items():
        one = _read(found, scorer, k, lexicon, clock)
        pool[query_id] = one
        if one.scorer_error is not None:
            failed.append(query_id)
            logger.warning("query %s: the scorer failed: %s", query_id, one.scorer_error)
            if len(failed) > max_failures * total:
                first = pool[failed[0]]
                raise SystemFailedError(
                    f"the scorer {scorer.info.id} failed on {len(failed)} of the {len(pool)} "
                    f"queries scored so far, more than {max_failures:.0%} of all {total}. First: "
                    f"query {first.query_id!r}: {first.scorer_error}. Mend it "
                    "(or, from Python, raise max_failures)."
                )
        if progress is not None:
            progress(len(pool), total)
    return pool


def _read(
    found: FirstStageResult,
    scorer: Scorer,
    k: int,
    lexicon: Collection[str] | None,
    clock: Callable[[], float],
) -> Pooled:
    candidates = found.candidates[:k]
    scores = Scores(
        values=np.zeros(len(candidates), dtype=np.float32),
        scale=scorer.info.scale,
        scored=np.zeros(len(candidates), dtype=np.bool_),
    )
    error: str | None = None
    begun, begun_cpu = clock(), time.process_time()
    if candidates:
        job = Job(query=found.query, texts=[c.text for c in candidates])
        try:
            (scores,) = score_many(scorer, [job], ScoreContext())
        except Exception as exc:  # the user's scorer may raise anything; one query is not the run
            error = f"{type(exc).__name__}: {exc}"
    spent, spent_cpu = clock() - begun, time.process_time() - begun_cpu
    return Pooled(
        found=found,
        candidates=candidates,
        scores=scores,
        signals=compute_signals(found.query, candidates, lexicon=lexicon),
        scorer_ms=spent * 1000.0,
        scorer_cpu_ms=spent_cpu * 1000.0,
        scorer_error=error,
    )
