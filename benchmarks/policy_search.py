"""Thresholds of the default gate and floor, searched on a grid; the worst corpus decides.

They have to hold on a stranger's documents, where `rankgate calibrate` fits to one corpus.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.decide.gate import Condition
from rankgate.decide.logistic import Logistic
from rankgate_eval.calibrate.rows import Row, ndcg10

__all__ = [
    "PRUDENCE",
    "VETO",
    "best_probability",
    "columns_of",
    "logits_of",
    "quality",
    "search_floor",
    "search_gate",
]

FloatArray = npt.NDArray[np.float64]
VETO = ("negation", "temporal", "conditional")
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
}
"""Signal and its thresholds, by kind of first stage; 0: the signal is not looked at."""


def columns_of(row: Row) -> Mapping[str, FloatArray]:
    """All features; the scorer has read every candidate here."""
    if row.reranked is None:
        raise SystemExit(f"query {row.query_id!r} was not scored")
    return row.reranked.columns


def quality(logits: FloatArray, row: Row) -> float:
    """nDCG@10 of the order that the logits give, ties by first-stage rank."""
    return ndcg10(np.argsort(-logits, kind="stable"), row)


def logits_of(model: Logistic, row: Row) -> FloatArray:
    """(n,) logits of one query's candidates."""
    return model.logits(columns_of(row), row.relevant.size)


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
            [quality(logits_of(reranked, r), r) - quality(logits_of(first, r), r) for r in rows]
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


def best_probability(model: Logistic, row: Row) -> float:
    """What the floor reads."""
    return float(1.0 / (1.0 + np.exp(-logits_of(model, row).max())))


def search_floor(
    rows: Sequence[Row], reranked: Logistic, first: Logistic | None, false_refusals: float
) -> tuple[float, dict[str, Any]]:
    """The highest refusal threshold at which no corpus has too many false refusals.

    The worst corpus decides, not the average: a stranger's documents are unlike all of these.
    An answerable query counts where a relevant passage is among its candidates: a refusal where
    retrieval has missed everything is right.
    """
    found = [r for r in rows if r.answerable and r.relevant.any()]
    names = sorted({r.corpus for r in found})
    models = [m for m in (reranked, first) if m is not None]
    # Either path may answer, so the less sure of the two sets the threshold.
    both = {
        c: [min(best_probability(m, r) for m in models) for r in found if r.corpus == c]
        for c in names
    }
    grid = np.round(np.arange(0.005, 0.5, 0.0025), 4)
    ok = [t for t in grid if max(np.mean(np.array(v) < t) for v in both.values()) <= false_refusals]
    threshold = float(max(ok, default=0.005))
    note: dict[str, Any] = {"max_false_refusals": false_refusals}
    for name, model in (("reranked", reranked), ("first_stage", first)):
        if model is None:
            continue

        def share(some: Sequence[Row], refused: bool, model: Logistic = model) -> float:
            hits = [(best_probability(model, r) < threshold) is refused for r in some]
            return round(float(np.mean(hits)), 4)

        note[name] = {
            c: {
                "false_refusals": share([r for r in found if r.corpus == c], True),
                **{
                    f"false_answers_{stratum}": share(
                        [r for r in rows if r.corpus == c and r.stratum == stratum], False
                    )
                    for stratum in ("removed", "foreign")
                },
            }
            for c in names
        }
    return threshold, note
