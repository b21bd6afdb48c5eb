"""The held-out check: the whole fit repeated without each fold, and judged on it.

Not the fitted numbers are cross-validated but the procedure: variants, thresholds and all. A part
that does not hold is left out, the rest is fitted again without it, and judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.decide.relevance import RelevanceModel
from rankgate.policy import Section
from rankgate_eval.calibrate.fit import PARTS, FitOptions, FittedParts, fit_parts, row_folds
from rankgate_eval.calibrate.floor_fit import most_wrongs, needed_to_wrong
from rankgate_eval.calibrate.measure import (
    brier_gain,
    compared,
    difference,
    raw_ndcg10,
    separation,
    share,
)
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import Served, place_by_first_stage, serve

__all__ = ["Check", "Judged", "check_parts", "fit_checked", "section_of", "serve_held_out"]

# An interval that reaches further than this is no licence to skip, whatever its middle.
_WORST_LOSS = 0.02
# A gate that loses too much is set again on less of the budget before it is given up.
_SPEND = (1.0, 0.5, 0.25)
_LEAST_SKIPPED = 0.02
_NEAR = 0.8  # of the false refusals allowed: nearer, the queries that are needed run away


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether one part holds on queries that it was not fitted on.

    Attributes:
        part: of `PARTS`.
        passed: whether it may stay.
        reason: in a sentence, with the numbers.
        numbers: plain data behind it.
    """

    part: str
    passed: bool
    reason: str
    numbers: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The final fit, and how its procedure did on queries held out.

    Attributes:
        parts: fitted on all rows, without the parts that failed.
        checks: one a part, of the round in which it was judged last.
        served: every row as served by the fit that has not seen its document group.
    """

    parts: FittedParts
    checks: dict[str, Check]
    served: tuple[Served, ...]


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
    )


def serve_held_out(
    rows: Sequence[Row],
    options: FitOptions,
    *,
    without: frozenset[str] = frozenset(),
    progress: Callable[[], None] | None = None,
) -> tuple[Served, ...]:
    """Every row served by a fit on the other folds.

    Raises:
        InputError: too few queries to fold, or none with a relevant candidate.
    """
    pairs, _ = row_folds(rows, folds=options.folds, seed=options.seed)
    found: dict[int, Served] = {}
    for train, held in pairs:
        # The inner folds must not be the outer ones again.
        inner = replace(options, seed=options.seed + 1)
        parts = fit_parts([rows[i] for i in train], inner, without=without)
        section = section_of(parts, scale="held-out", base=Section(top_n=options.top_n))
        found.update({i: serve(rows[i], section) for i in held})
        if progress is not None:
            progress()
    return tuple(found[i] for i in range(len(rows)))


def fit_checked(
    rows: Sequence[Row],
    options: FitOptions,
    *,
    without: frozenset[str] = frozenset(),
    progress: Callable[[], None] | None = None,
) -> Judged:
    """Fit, judge each part on held-out rows, and leave out what does not hold.

    A gate that loses too much is tried on a half and on a quarter of the loss that is allowed
    before it is left out. Each try is judged on the same held-out rows, so a gate that held at
    the second or third says so in its reason.

    Args:
        rows: answerable and unanswerable queries, in any order.
        options: what is asked for.
        without: parts that are not to be fitted at all.
        progress: told after each fold.

    Raises:
        InputError: too few queries to fold, or none with a relevant candidate.
    """
    # Sums of floats must not depend on the order of a file.
    ordered = sorted(rows, key=lambda row: (row.query_id, row.stratum))
    checks: dict[str, Check] = {}
    while True:
        served = serve_held_out(ordered, options, without=without, progress=progress)
        parts = fit_parts(ordered, options, without=without)
        fresh = check_parts(served, parts, options, without=without)
        # The relevance models first: what stands on them is judged once they are settled.
        checks.update(fresh)
        failed = next(
            (p for p in PARTS if p in fresh and not fresh[p].passed and not _waits(p, parts)), None
        )
        if failed is None:
            return Judged(parts=parts, checks=checks, served=served)
        if failed == "gate" and checks["gate"].numbers.get("over_budget"):
            less = next((s for s in _SPEND if s < options.spend), None)
            if less is not None and options.max_loss:
                options = replace(options, spend=less)
                continue
        without = without | {failed}
        if failed == "reranked":
            without = without | {"floor"}
            checks["floor"] = Check(
                part="floor",
                passed=False,
                reason="a floor needs the relevance model of reranked results",
                numbers={},
            )


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
    """Judge each part that was fitted, or say why it was not."""
    checks = [
        _check_reranked(served, options.seed),
        _check_first_stage(served, parts, options.seed),
        _check_gate(served, parts, options),
        _check_floor(served, parts, options),
    ]
    return {c.part: c for c in checks if c.part not in without}


def _check_model(
    part: str,
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
    rows: Sequence[Row],
    gain: tuple[Any, dict[str, Any]] | None,
    seed: int,
    other: str,
) -> Check:
    """An order not worse beyond its error, and a better one or a probability worth its name."""
    order = compared(before, after, rows, seed=seed)
    holds = gain is not None and gain[0].mean > gain[0].standard_error
    numbers = {
        "order": difference(order),
        "probability": None if gain is None else gain[1],
        "probability_holds": holds,
    }
    lost = f"orders {order.mean:+.4f} nDCG@10 against {other} (n {order.n})"
    if order.mean < -order.standard_error:
        return Check(part=part, passed=False, reason=f"{lost}: worse", numbers=numbers)
    skill = "no probability" if gain is None else f"Brier skill {gain[1]['brier_skill']}"
    if holds:
        return Check(part=part, passed=True, reason=f"{lost}; {skill}", numbers=numbers)
    if order.better():
        reason = f"{lost}, but its probability is not to be trusted ({skill}): it only orders"
        return Check(part=part, passed=True, reason=reason, numbers=numbers)
    reason = f"{lost}: not shown to be better, and its probability neither ({skill})"
    return Check(part=part, passed=False, reason=reason, numbers=numbers)


def _check_reranked(served: Sequence[Served], seed: int) -> Check:
    answerable = [s for s in served if s.row.answerable]
    rows = [s.row for s in answerable]
    if all(_constant(s.row) for s in served):
        return Check(
            part="reranked",
            passed=False,
            reason="the scorer gives every passage of a query the same score",
            numbers={},
        )
    return _check_model(
        "reranked",
        np.array([raw_ndcg10(r) for r in rows]),
        np.array([s.reranked.ndcg10 for s in answerable]),
        rows,
        brier_gain([s.reranked for s in served], [s.row for s in served], seed=seed),
        seed,
        "raw order",
    )


def _constant(row: Row) -> bool:
    if row.reranked is None:
        return True
    raw = row.reranked.columns["raw"]
    return raw.size == 0 or float(raw.max() - raw.min()) <= 1e-9 * max(1.0, float(abs(raw).max()))


def _check_first_stage(served: Sequence[Served], parts: FittedParts, seed: int) -> Check:
    if parts.first_stage is None:
        return Check(
            part="first_stage",
            passed=False,
            reason="the first stage gives no scores, and its ranks are no probability",
            numbers={},
        )
    answerable = [s for s in served if s.row.answerable]
    rows = [s.row for s in answerable]
    return _check_model(
        "first_stage",
        np.array([place_by_first_stage(r, None).ndcg10 for r in rows]),
        np.array([s.skipped.ndcg10 for s in answerable]),
        rows,
        brier_gain([s.skipped for s in served], [s.row for s in served], seed=seed),
        seed,
        "first-stage order",
    )


def _check_gate(served: Sequence[Served], parts: FittedParts, options: FitOptions) -> Check:
    tried = _tried(options)
    if parts.gate.model is None:
        reason = parts.notes.get("gate", "not fitted") + tried
        return Check(part="gate", passed=False, reason=reason, numbers={})
    answerable = [s for s in served if s.row.answerable]
    rows = [s.row for s in answerable]
    always = np.array([s.reranked.ndcg10 for s in answerable])
    policy = np.array([s.placed.ndcg10 for s in answerable])
    loss = compared(policy, always, rows, seed=options.seed)
    skipped = sum(s.skips for s in answerable)
    rate = skipped / len(answerable)
    numbers: dict[str, Any] = {
        "skip_rate": share(skipped, len(answerable)),
        "loss": difference(loss),
        "spend": options.spend,
    }
    told = f"skips {rate:.1%} and loses {loss.mean:.4f} nDCG@10 (n {loss.n}){tried}"
    if rate < _LEAST_SKIPPED:
        return Check(part="gate", passed=False, reason=f"{told}: not worth having", numbers=numbers)
    if options.max_loss is not None:
        if loss.mean > options.max_loss:
            reason = f"{told}: more than the {options.max_loss:g} that is allowed"
            numbers["over_budget"] = True
            return Check(part="gate", passed=False, reason=reason, numbers=numbers)
        if loss.high > options.max_loss + _WORST_LOSS:
            reason = f"{told}, but up to {loss.high:.4f} cannot be excluded: too few queries"
            numbers["over_budget"] = True
            return Check(part="gate", passed=False, reason=reason, numbers=numbers)
    return Check(part="gate", passed=True, reason=told, numbers=numbers)


def _tried(options: FitOptions) -> str:
    """That this is not the first try, which makes a pass a little easier."""
    if options.spend == 1.0:
        return ""
    return f" (set on {options.spend:g} of the loss allowed: set on more, it lost too much)"


def _room(parts: FittedParts, numbers: dict[str, Any], options: FitOptions) -> str:
    """How far the number of queries, and not their probabilities, keeps the floor down."""
    if parts.refusing is None:
        return ""
    n, target = parts.refusing.n, options.false_refusals
    most = most_wrongs(n, share=target, confidence=options.confidence)
    needed = needed_to_wrong(_NEAR * target, share=target, confidence=options.confidence)
    if most is None or n >= needed:
        return ""
    numbers["room"] = {"wrongs": most, "n": n, "near": _NEAR * target, "needed": needed}
    return (
        f"; with {n} queries the bound lets at most {most} be refused ({most / n:.1%}): a stricter "
        f"floor needs more of them, {needed} to come to {_NEAR * target:.1%}"
    )


def _check_floor(served: Sequence[Served], parts: FittedParts, options: FitOptions) -> Check:
    if parts.floor.refuse_below is None:
        reason = parts.notes.get("floor", "not fitted")
        return Check(part="floor", passed=False, reason=reason, numbers={})
    found = [s for s in served if s.row.answerable and s.row.found]
    wrong = share(sum(not s.answers for s in found), len(found))
    apart = separation(served, seed=options.seed)
    numbers = {"false_refusals": wrong, "separation": apart}
    told = f"refuses {wrong['share']:.1%} of the answerable queries (n {wrong['n']})"
    if wrong["count"] > options.false_refusals * wrong["n"]:
        reason = f"{told}: more than {options.false_refusals:.1%}"
        return Check(part="floor", passed=False, reason=reason, numbers=numbers)
    if apart is None:
        reason = f"{told}, and there are no unanswerable ones to tell whether it is of use"
        return Check(part="floor", passed=False, reason=reason, numbers=numbers)
    told += f" and {apart['mean']:+.1%} more of the unanswerable ones"
    if apart["interval"] is None or apart["interval"][0] <= 0.0:
        reason = f"{told}: it does not tell them apart"
        return Check(part="floor", passed=False, reason=reason, numbers=numbers)
    return Check(
        part="floor", passed=True, reason=told + _room(parts, numbers, options), numbers=numbers
    )
