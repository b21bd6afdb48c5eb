"""Thresholds of the default gate and floor, searched on a grid; the worst corpus decides.

They have to hold on a stranger's documents, where `rankgate calibrate` fits to one corpus.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.decide.floor import Floor
from rankgate.decide.gate import Condition
from rankgate.decide.logistic import Logistic
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import Placed, place_by_first_stage, place_by_scores

__all__ = [
    "PRUDENCE",
    "VETO",
    "best_probability",
    "quality",
    "search_floor",
    "search_gate",
]

FloatArray = npt.NDArray[np.float64]
VETO = ("negation", "temporal", "conditional")
_FLOORS = tuple(np.round(5e-4 * np.r_[1:200, 200:1900:5], 4).tolist())
PRUDENCE = 0.5
"""Share of the allowed loss that may be used up here; the rest is for strangers' documents."""

_DENSE = ("dense_margin_12", (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3))
_TOP = ("dense_top1", (0.0, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8))
_TERMS = ("bm25_margin_12", (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5))
_TERMS_15 = ("bm25_margin_15", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
_GRIDS = {
    "hybrid": (("top1_agrees", (1.0,)), _DENSE, _TERMS, _TERMS_15),
    "dense": (_DENSE, _TOP),
    "bm25": (_TERMS, _TERMS_15),
    "order": (
        ("lexical_top1_agrees", (1.0,)),
        ("coverage_top1", (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        ("lexical_margin_12", _TERMS[1]),
        ("lexical_margin_15", _TERMS_15[1]),
    ),
}
"""Signal and its thresholds, by kind of first stage; 0: the signal is not looked at."""


def quality(model: Logistic | None, row: Row, *, scored: bool) -> float:
    """nDCG@10 of the order that the engine makes of the row with this model, on one path."""
    return _placed(model, row, scored=scored).ndcg10


def best_probability(model: Logistic, row: Row, *, scored: bool) -> float:
    """What the floor reads."""
    best = _placed(model, row, scored=scored).best
    return 1.0 if best is None else best  # without a probability nothing is refused


def _placed(model: Logistic | None, row: Row, *, scored: bool) -> Placed:
    if not scored:
        return place_by_first_stage(row, model)
    placed = place_by_scores(row, model)
    if placed is None:
        raise SystemExit(f"query {row.query_id!r} was not scored")
    return placed


def search_gate(
    views: Mapping[str, Sequence[Row]],
    reranked: Logistic,
    first: Logistic,
    kind: str,
    max_loss: float,
) -> tuple[tuple[Condition, ...], dict[str, Any]] | None:
    """The thresholds that skip most while hurting next to nothing.

    Harm is what skipping costs the questions that it hurts. Those that it helps are not set
    against them: which ones they are is luck, and does not carry over to other documents. On
    the worst corpus harm may be `PRUDENCE` of `max_loss`, in every view; what that buys on a domain
    that was left out stands in eval/LOG.md.

    Args:
        views: the same questions in the same order, scored by different query encoders.
        reranked: relevance model of what was reranked.
        first: that of the first stage.
        kind: of the first stage.
        max_loss: nDCG@10 that skipping may cost on documents that nobody here has seen.

    Raises:
        SystemExit: the views are not of the same questions.
    """
    allowed = PRUDENCE * max_loss
    grids = _GRIDS[kind]
    answerable = {name: [r for r in rows if r.answerable] for name, rows in views.items()}
    lost = {
        name: np.array(
            [quality(reranked, r, scored=True) - quality(first, r, scored=False) for r in rows]
        )
        for name, rows in answerable.items()
    }
    asked = next(iter(answerable.values()))
    if any([r.query_id for r in v] != [r.query_id for r in asked] for v in answerable.values()):
        raise SystemExit("the views hold different questions, or in another order")
    of = {c: np.array([r.corpus == c for r in asked]) for c in sorted({r.corpus for r in asked})}
    signals = {
        name: np.array([_value(r, name) for r in asked]) for name in (*VETO, *(n for n, _ in grids))
    }
    free = np.all([signals[name] == 0.0 for name in VETO], axis=0)
    best: tuple[float, tuple[Condition, ...], npt.NDArray[np.bool_]] | None = None
    for values in itertools.product(*(values for _, values in grids)):
        conditions = tuple(
            Condition(signal=name, op=">=", value=value)
            for (name, _), value in zip(grids, values, strict=True)
            if value > 0.0
        )
        if not conditions:
            continue
        skipped = free & np.all([signals[c.signal] >= c.value for c in conditions], axis=0)
        harm = max(
            float((np.maximum(loss, 0.0) * skipped)[at].mean())
            for loss in lost.values()
            for at in of.values()
        )
        share = float(np.mean([skipped[at].mean() for at in of.values()]))
        # Grids ascend, so of gates that skip as much the strictest stays.
        if harm <= allowed and (best is None or share >= best[0]):
            best = (share, conditions, skipped)
    if best is None:
        return None
    share, conditions, skipped = best

    def each(values: FloatArray, digits: int = 5) -> dict[str, float]:
        return {c: round(float(values[at].mean()), digits) for c, at in of.items()}

    return conditions, {
        "allowed_harm": allowed,
        "skip_rate": round(share, 4),
        "skip_rate_by_corpus": each(skipped.astype(np.float64), 4),
        **{
            name: {
                "ndcg10_loss_by_corpus": each(loss * skipped),
                "ndcg10_harm_by_corpus": each(np.maximum(loss, 0.0) * skipped),
            }
            for name, loss in lost.items()
        },
    }


def _value(row: Row, name: str) -> float:
    """The signal; where it is missing no condition on it holds, as in the gate."""
    value = row.signals.values()[name]
    return np.nan if value is None else value


def search_floor(
    rows: Sequence[Row], reranked: Logistic, first: Logistic | None, false_refusals: float
) -> tuple[float, dict[str, Any]]:
    """The highest refusal threshold at which no corpus has too many false refusals.

    The worst corpus decides, not the average: a stranger's documents are unlike all of these.
    An answerable query counts where a relevant passage is among its candidates: a refusal where
    retrieval has missed everything is right.
    """
    names = sorted({r.corpus for r in rows if r.answerable and r.found})
    paths = {"reranked": (reranked, True), "first_stage": (first, False)}
    best = {
        path: [best_probability(model, r, scored=scored) for r in rows]
        for path, (model, scored) in paths.items()
        if model is not None
    }
    # Either path may answer, so the less sure of the two sets the threshold.
    least = np.min(np.array(list(best.values())), axis=0)
    counted = np.array([r.answerable and r.found for r in rows])
    of = {c: np.array([r.corpus == c for r in rows]) for c in names}
    ok = [
        t
        for t in _FLOORS
        if max(_refused(least[counted & at], t) for at in of.values()) <= false_refusals
    ]
    threshold = float(max(ok, default=_FLOORS[0]))
    strata = np.array([r.stratum for r in rows])
    note: dict[str, Any] = {"max_false_refusals": false_refusals}
    for path, values in best.items():
        p = np.array(values)
        note[path] = {
            c: {
                "false_refusals": round(_refused(p[counted & at], threshold), 4),
                **{
                    f"false_answers_{s}": round(1.0 - _refused(p[(strata == s) & at], threshold), 4)
                    for s in ("removed", "foreign")
                },
            }
            for c, at in of.items()
        }
    return threshold, note


def _refused(best: FloatArray, threshold: float) -> float:
    """Share of these queries that such a floor refuses."""
    floor = Floor(refuse_below=threshold)
    return float(np.mean([floor.refuses(p) for p in best.tolist()])) if best.size else 0.0
