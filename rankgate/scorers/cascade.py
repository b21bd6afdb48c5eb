"""Cascade: a fast scorer reads everything, an accurate one only the best of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rankgate.errors import ConfigError, InputError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, ScorerInfo, Scores, ScoreStats
from rankgate.scorers.steps import Call, Stepped, Steps
from rankgate.scorers.wrappers.traits import breaker_is_open

__all__ = ["Cascade"]

logger = logging.getLogger("rankgate")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranked:
    """What the fast stage made of a job: all of its texts, best first."""

    order: list[int]
    scores: Scores | None
    note: str


class Cascade(Stepped):
    """Two stages, one order; their scales are never mixed.

    `Scores.values` are the accurate scorer's and stand only for the texts that it read; `order`
    puts those first, then the other texts as the fast scorer had them. A result that is less
    than was asked for says so in `note`:

    - `accurate_failed`: the accurate scorer raised; the whole result is the fast scorer's, on
      its own scale.
    - `accurate_unread`: no time was left for it; likewise.
    - `accurate_partial`: it read some of the kept texts; the others follow as the fast scorer
      had them.
    - `fast_failed`: the fast scorer raised, and the accurate one read the first `keep` texts of
      the first stage instead.
    - `fast_partial`: the fast scorer did not get to the end; what it left unread was not kept.

    The fast stage may use the whole deadline; the accurate one sees what remains.

    Args:
        fast: reads every text.
        accurate: reads the best `keep` of them.
        keep: at least 1.

    Raises:
        ConfigError: `keep` is below 1.
    """

    pointwise = False

    def __init__(self, fast: Scorer, accurate: Scorer, keep: int) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ConfigError(f"keep must be a whole number of at least 1, got {keep!r}")
        self.fast = fast
        self.accurate = accurate
        self.keep = keep

    @property
    def info(self) -> ScorerInfo:
        """The accurate scorer's, under a name that tells the whole cascade."""
        last = self.accurate.info
        return replace(last, id=f"cascade({self.fast.info.id}->{last.id},keep={self.keep})")

    @property
    def is_open(self) -> bool:
        """Whether breakers refuse both stages; one alone can still order."""
        return breaker_is_open(self.fast) and breaker_is_open(self.accurate)

    def steps(self, jobs: Sequence[Job], context: ScoreContext) -> Steps[list[Scores]]:
        """Fast over all, accurate over the best, merged.

        Raises:
            InputError: the caller's mistake, from either stage.
            Exception: what the accurate scorer raised, where the fast one had failed too.
        """
        failure: Exception | None = None
        try:
            answers = yield Call(scorer=self.fast, jobs=jobs, context=context)
        except InputError:
            raise
        except Exception as exc:  # whatever it is, the accurate stage may still work
            logger.warning("fast stage %s failed: %s", self.fast.info.id, type(exc).__name__)
            failure = exc
            ranked = [
                _Ranked(order=list(range(len(job.texts))), scores=None, note="fast_failed")
                for job in jobs
            ]
        else:
            ranked = [_ranked(scores) for scores in answers]
        if failure is None and context.should_stop:
            return [self._fast_only(r, "accurate_unread") for r in ranked]
        best = [
            Job(query=job.query, texts=[job.texts[i] for i in r.order[: self.keep]])
            for job, r in zip(jobs, ranked, strict=True)
        ]
        try:
            reread = yield Call(scorer=self.accurate, jobs=best, context=context)
        except InputError:
            raise
        except Exception as exc:  # a failing second stage leaves the first one's order
            if failure is not None:
                raise exc from failure
            logger.warning(
                "accurate stage %s failed: %s", self.accurate.info.id, type(exc).__name__
            )
            return [self._fast_only(r, "accurate_failed") for r in ranked]
        return [self._merged(r, scores) for r, scores in zip(ranked, reread, strict=True)]

    def _fast_only(self, ranked: _Ranked, note: str) -> Scores:
        if ranked.scores is None or not ranked.order:
            return _nothing_read(len(ranked.order), self.info.scale)
        return replace(ranked.scores, note=note, scale=self._fast_scale(ranked.scores.scale))

    def _fast_scale(self, scale: str) -> str:
        """The fast stage's scale, told apart from the accurate one's of the same name.

        All cross-encoders say `logit`, and a floor fitted for one means nothing for another.
        """
        fast, accurate = self.fast.info, self.accurate.info
        same = (fast.id, fast.weights, fast.revision) == (
            accurate.id,
            accurate.weights,
            accurate.revision,
        )
        return scale if same or scale != accurate.scale else f"{scale}@{fast.id}"

    def _merged(self, ranked: _Ranked, accurate: Scores) -> Scores:
        n, kept = len(ranked.order), ranked.order[: self.keep]
        stats = accurate.stats
        if ranked.scores is not None:
            # Pairs are counted once, however many stages read them.
            stats = replace(
                stats + ranked.scores.stats,
                pairs=max(stats.pairs, ranked.scores.stats.pairs),
            )
        if kept and not accurate.scored.any():
            if ranked.scores is None:
                return replace(_nothing_read(n, accurate.scale), stats=stats)
            return replace(self._fast_only(ranked, "accurate_unread"), stats=stats)
        values = np.zeros(n, dtype=np.float32)
        scored = np.zeros(n, dtype=np.bool_)
        values[kept], scored[kept] = accurate.values, accurate.scored
        order = None
        if not scored.all():
            again = _order_of(accurate, ties=kept)
            order = np.array([*(kept[i] for i in again), *ranked.order[len(kept) :]], np.intp)
        # Where every text was read in the end, nothing is missing, whatever the fast stage did.
        note = accurate.note or ("" if scored.all() else ranked.note)
        if not note and accurate.order is None and not accurate.complete:
            note = "accurate_partial"
        return Scores(
            values=values, scale=accurate.scale, scored=scored, stats=stats, order=order, note=note
        )


def _ranked(scores: Scores) -> _Ranked:
    partial = scores.order is None and not scores.complete
    note = scores.note or ("fast_partial" if partial else "")
    return _Ranked(order=_order_of(scores), scores=scores, note=note)


def _order_of(scores: Scores, *, ties: Sequence[int] | None = None) -> list[int]:
    """Positions best first: the stage's own order, or by value with the unread behind.

    Equal values go by `ties` (the texts' first-stage positions); None: by position. Unread texts
    keep their position.
    """
    if scores.order is not None:
        return [int(i) for i in scores.order]
    place = range(scores.values.size) if ties is None else ties
    read: npt.NDArray[np.intp] = np.flatnonzero(scores.scored)
    unread = np.flatnonzero(~scores.scored)
    best = sorted(read.tolist(), key=lambda i: (-float(scores.values[i]), place[i]))
    return [*best, *unread.tolist()]


def _nothing_read(n: int, scale: str) -> Scores:
    return Scores(
        values=np.zeros(n, dtype=np.float32),
        scale=scale,
        scored=np.zeros(n, dtype=np.bool_),
        stats=ScoreStats(),
    )
