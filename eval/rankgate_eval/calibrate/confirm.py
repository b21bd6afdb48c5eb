"""What is fitted on one half of the document groups is confirmed on the other.

The fresh half neither fitted nor chose anything, and what stands in the file is what it saw: no
fit on more questions, of which nothing would be known, takes its place. A part that the fresh
half does not confirm is left out, the rest is fitted again without it, and judged again; before
the relevance model of reranked results goes, and with it the floor, it is tried over the scorer's
own order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate_eval.calibrate.fit import PARTS, FittedParts, fit_parts, row_folds
from rankgate_eval.calibrate.floor_fit import most_wrongs, needed_to_wrong
from rankgate_eval.calibrate.gate_fit import HARM_MARGIN, FrontierPoint
from rankgate_eval.calibrate.measure import (
    brier_gain,
    compared,
    difference,
    raw_ndcg10,
    separation,
    share,
)
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import Placed, Served, place_by_first_stage, serve
from rankgate_eval.stats.ndcg import ndcg
from rankgate_eval.stats.significance import Difference

_LEAST_SKIPPED = 0.02
_FAR = 0.1  # beyond the interval of what the fresh half skips: then the promise was luck
_SLIP = 1.0 - ndcg([0.0, 1.0], 1)  # nDCG@10 of an answer that slips from rank 1 to 2
_NEAR = 0.8  # of the false refusals allowed: nearer, the queries that are needed run away


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether one part holds on queries that it was not fitted on.

    Attributes:
        reason: in a sentence, with the numbers.
    """

    passed: bool
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The fit of one half, and how it did on the other.

    Attributes:
        parts: fitted on one half, without the parts that failed.
        checks: one a part, of the round in which it was judged last.
        served: every row of the fresh half, as the fitted parts serve it.
        fitted_on: answerable queries of the half that was fitted on.
        unit: what the halves were drawn from; see `Fold`.
    """

    parts: FittedParts
    checks: dict[str, Check]
    served: tuple[Served, ...]
    fitted_on: int
    unit: str

    @property
    def fresh(self) -> list[str]:
        """Ids of the answerable queries of the fresh half."""
        return [s.row.query_id for s in self.served if s.row.answerable]


def section_of(parts: FittedParts, *, scale: str, base: Section) -> Section:
    """The parts as a policy section; everything else as in `base`."""
    return replace(
        base,
        gate=replace(parts.gate, min_remaining_ms=base.gate.min_remaining_ms),
        reranked=None
        if parts.reranked is None
        else RelevanceModel(model=parts.reranked.model, scale=scale),
        first_stage=None
        if parts.first_stage is None
        else RelevanceModel(model=parts.first_stage.model),
        floor=parts.floor,
        sufficiency=None,  # of other models' numbers; fitted afterwards where it is asked for
    )


def fit_checked(
    rows: Sequence[Row],
    options: FitOptions,
    *,
    without: frozenset[str] = frozenset(),
    progress: Callable[[], None] | None = None,
) -> Judged:
    """Fit on one half of the document groups, and leave out what the other does not confirm.

    Args:
        rows: answerable and unanswerable queries, in any order.
        without: parts that are not to be fitted at all.

    Raises:
        InputError: too few queries to fold, or none with a relevant candidate.
    """
    # Sums of floats must not depend on the order of a file.
    ordered = sorted(rows, key=lambda row: (row.query_id, row.stratum))
    halves, unit = row_folds(ordered, folds=2, seed=options.seed)
    fitting, fresh = ([ordered[i] for i in half] for half in halves[0])
    checks: dict[str, Check] = {}
    raw_alone = False
    while True:
        parts = fit_parts(fitting, options, without=without, raw_alone=raw_alone)
        section = section_of(parts, scale="fresh", base=Section(top_n=options.top_n))
        served = tuple(serve(row, section) for row in fresh)
        found = check_parts(served, parts, options, without=without)
        if progress is not None:
            progress()
        # The relevance models first: what stands on them is judged once they are settled.
        checks.update(found)
        failed = next(
            (p for p in PARTS if p in found and not found[p].passed and not _waits(p, parts)), None
        )
        if failed is None:
            return Judged(
                parts=parts,
                checks=checks,
                served=served,
                fitted_on=sum(row.answerable for row in fitting),
                unit=unit,
            )
        if failed == "reranked" and not raw_alone:
            raw_alone = True  # whose order is the scorer's: then the probability alone is judged
            continue
        without = without | {failed}
        if failed == "reranked":
            without = without | {"floor"}
            reason = "a floor needs the relevance model of reranked results"
            checks["floor"] = Check(passed=False, reason=reason)


def _waits(part: str, parts: FittedParts) -> bool:
    """A gate that rests for the floor's sake comes back where the floor does not hold."""
    return part == "gate" and parts.floor.active and parts.first_stage is None


def check_parts(
    served: Sequence[Served],
    parts: FittedParts,
    options: FitOptions,
    *,
    without: frozenset[str] = frozenset(),
) -> dict[str, Check]:
    """Judge each part that was fitted on rows that it has not seen, or say why it was not."""
    checks = {
        "reranked": _check_reranked(served, options),
        "first_stage": _check_first_stage(served, parts, options),
        "gate": _check_gate(served, parts, options),
        "floor": _check_floor(served, parts, options),
    }
    return {part: check for part, check in checks.items() if part not in without}


def _check_model(
    served: Sequence[Served],
    placed: Callable[[Served], Placed],
    own: Callable[[Row], float],
    other: str,
    options: FitOptions,
) -> Check:
    """An order not worse beyond its error, and a better one or a probability worth its name."""
    answerable = [s for s in served if s.row.answerable]
    order = compared(
        np.array([own(s.row) for s in answerable]),
        np.array([placed(s).ndcg10 for s in answerable]),
        [s.row for s in answerable],
        seed=options.seed,
    )
    gain = brier_gain(
        [placed(s) for s in served],
        [s.row for s in served],
        seed=options.seed,
        prior=options.prior,
    )
    holds = gain is not None and gain[0].mean > gain[0].standard_error
    skill = "no probability" if gain is None else f"Brier skill {gain[1]['brier_skill']}"
    worse = order.mean < -order.standard_error
    if worse:
        told = ": worse"
    elif holds:
        told = f"; {skill}"
    elif order.better():
        told = f", but its probability is not to be trusted ({skill}): it only orders"
    else:
        told = f": not shown to be better, and its probability neither ({skill})"
    return Check(
        passed=not worse and (holds or order.better()),
        reason=f"orders {order.mean:+.4f} nDCG@10 against {other} (n {order.n}){told}",
        numbers={
            "order": difference(order),
            "probability": None if gain is None else gain[1],
            "probability_holds": holds,
        },
    )


def _check_reranked(served: Sequence[Served], options: FitOptions) -> Check:
    if all(_constant(s.row) for s in served):
        reason = "the scorer gives every passage of a query the same score"
        return Check(passed=False, reason=reason)
    return _check_model(served, lambda s: s.reranked, raw_ndcg10, "raw order", options)


def _constant(row: Row) -> bool:
    if row.reranked is None:
        return True
    raw = row.reranked.columns["raw"]
    return raw.size == 0 or float(raw.max() - raw.min()) <= 1e-9 * max(1.0, float(abs(raw).max()))


def _check_first_stage(served: Sequence[Served], parts: FittedParts, options: FitOptions) -> Check:
    if parts.first_stage is None:
        reason = parts.notes.get("first_stage", "not fitted")
        return Check(passed=False, reason=reason)
    return _check_model(
        served,
        lambda s: s.skipped,
        lambda row: place_by_first_stage(row, None).ndcg10,
        "first-stage order",
        options,
    )


def _check_gate(served: Sequence[Served], parts: FittedParts, options: FitOptions) -> Check:
    """Whether the fresh half confirms the gate: what it skips, and what that loses."""
    promised = parts.promised
    if parts.gate.model is None or promised is None:
        return Check(passed=False, reason=parts.notes.get("gate", "not fitted"))
    answerable = [s for s in served if s.row.answerable]
    loss = compared(
        np.array([s.placed.ndcg10 for s in answerable]),
        np.array([s.reranked.ndcg10 for s in answerable]),
        [s.row for s in answerable],
        seed=options.seed,
    )
    skips = share(sum(s.skips for s in answerable), len(answerable))
    spare, needed = _spare(answerable, loss, options)
    numbers: dict[str, Any] = {
        "skip_rate": skips,
        "loss": difference(loss),
        "spare": round(spare, 5),
        "promised": {"skip_rate": round(promised.skip_rate, 4), "loss": round(promised.loss, 5)},
    }
    told = f"skips {skips['share']:.1%} and loses {loss.mean:.4f} nDCG@10 (n {loss.n}, fresh)"
    failed = ""
    if skips["share"] < _LEAST_SKIPPED:
        failed = ": not worth having"
    elif _far(skips, promised):
        failed = f", where the fit promised {promised.skip_rate:.1%}: not confirmed"
    elif options.max_loss is not None and loss.mean > options.max_loss:
        failed = f": more than the {options.max_loss:g} that is allowed"
    elif options.max_loss is not None and loss.mean + spare > options.max_loss:
        failed = (
            f", but so few leave open that it loses {loss.mean + spare:.4f}, more than the "
            f"{options.max_loss:g} that is allowed"
        )
        if needed is not None:
            numbers["needed"] = needed
            failed += f"; about {needed} judged queries would tell, or a larger --max-loss"
    return Check(passed=not failed, reason=told + failed, numbers=numbers)


def _spare(
    answerable: Sequence[Served], loss: Difference, options: FitOptions
) -> tuple[float, int | None]:
    """By how much the loss may be more than was seen, and how many queries would tell.

    A standard error, as the threshold was chosen with, around nothing: a rare large loss must
    not look like a small spread. And at least what one more harmed query would lose, since
    none among a hundred may be one among the next: the mean of those seen, the first of which
    is taken to be an answer that slips from rank 1 to 2.

    Returns:
        nDCG@10, and judged queries in both halves; None where no number would do.
    """
    n = len(answerable)
    groups: dict[str, float] = {}
    for s in answerable:
        groups[s.row.group] = groups.get(s.row.group, 0.0) + s.loss * s.skips
    error = math.sqrt(sum(v * v for v in groups.values())) / n
    harmed = [s.loss for s in answerable if s.loss > HARM_MARGIN]
    one = (sum(harmed) + _SLIP) / (len(harmed) + 1) / n
    room = None if options.max_loss is None else options.max_loss - max(0.0, loss.mean)
    if room is None or room <= 0.0:
        return max(error, one), None
    return max(error, one), math.ceil(2 * n * max(one / room, (error / room) ** 2))


def _far(skips: dict[str, Any], promised: FrontierPoint) -> bool:
    low, high = skips["interval"]
    return not low - _FAR <= promised.skip_rate <= high + _FAR


def _room(parts: FittedParts, numbers: dict[str, Any], options: FitOptions) -> str:
    """How far the number of queries, and not their probabilities, keeps the floor down."""
    if parts.refusing is None:
        return ""
    n, target = int(parts.refusing.effective), options.false_refusals
    most = most_wrongs(n, share=target, confidence=options.confidence)
    needed = needed_to_wrong(_NEAR * target, share=target, confidence=options.confidence)
    if most is None or n >= needed:
        return ""
    numbers["room"] = {"wrongs": most, "n": n, "near": _NEAR * target, "needed": needed}
    return (
        f"; {n} independent queries to fit it on let at most {most} be refused ({most / n:.1%}): a "
        f"stricter floor needs more of them, {needed} to come to {_NEAR * target:.1%}"
    )


def _check_floor(served: Sequence[Served], parts: FittedParts, options: FitOptions) -> Check:
    if parts.floor.refuse_below is None:
        return Check(passed=False, reason=parts.notes.get("floor", "not fitted"))
    found = [s for s in served if s.row.answerable and s.row.found]
    wrong = share(sum(not s.answers for s in found), len(found))
    apart = separation(served, seed=options.seed)
    numbers = {"false_refusals": wrong, "separation": apart}
    told = f"refuses {wrong['share']:.1%} of the answerable queries (n {wrong['n']})"
    if wrong["count"] > options.false_refusals * wrong["n"]:
        failed = f": more than {options.false_refusals:.1%}"
    elif apart is None:
        failed = ", and there are no unanswerable ones to tell whether it is of use"
    else:
        told += f" and {apart['mean']:+.1%} more of the unanswerable ones"
        useful = apart["interval"] is not None and apart["interval"][0] > 0.0
        failed = "" if useful else ": it does not tell them apart"
    told += failed or _room(parts, numbers, options)
    return Check(passed=not failed, reason=told, numbers=numbers)
