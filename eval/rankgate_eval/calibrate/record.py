"""What a calibration writes down about itself: parts with their reasons, numbers, plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate.policy import Policy
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.confirm import Judged, section_of
from rankgate_eval.calibrate.measure import compared, describe, difference, raw_ndcg10
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import Served, place_by_first_stage, serve


def parts_of(
    judged: Judged | None, obstacle: str, shaped: Section, scale: str
) -> tuple[dict[str, Any], Section]:
    """What became of each part, and the section made of those that hold."""
    if judged is None:
        kept = {
            "reranked": shaped.reranked is not None,
            "first_stage": shaped.first_stage is not None,
            "gate": bool(shaped.gate.rules) or shaped.gate.model is not None,
            "floor": shaped.floor.active,
        }
        return {
            name: {
                "kept": False,
                "from_base": known,
                "reason": f"not fitted: {obstacle}"
                + ("; the base policy's stays" if known else "; none"),
            }
            for name, known in kept.items()
        }, shaped
    parts = {
        name: {
            "kept": check.passed,
            "reason": check.reason,
            "check": check.numbers,
        }
        for name, check in judged.checks.items()
    }
    section = section_of(judged.parts, scale=scale, base=shaped)
    for name, fitted in (
        ("reranked", judged.parts.reranked),
        ("first_stage", judged.parts.first_stage),
    ):
        if fitted is not None:
            parts[name].update(
                n=fitted.n,
                dropped=dict(fitted.dropped),
                unanswerable=round(fitted.unanswerable, 5),
            )
    if judged.parts.refusing is not None:
        bound = judged.parts.refusing
        parts["floor"].update(
            wrongs=bound.wrongs,
            n=bound.n,
            upper=round(bound.upper, 5),
            design_effect=round(bound.design_effect, 3),
        )
    for name, note in judged.parts.notes.items():
        parts[name].setdefault("note", note)
    return parts, replace(
        section,
        gate=replace(section.gate, provenance=plain_data(parts["gate"])),
        reranked=_noted(section.reranked, parts["reranked"]),
        first_stage=_noted(section.first_stage, parts["first_stage"]),
    )


def mixture_of(judged: Judged | None, options: FitOptions) -> dict[str, Any] | None:
    """Which share of unanswerable questions the probabilities are for; None: none was fitted."""
    models = () if judged is None else (judged.parts.reranked, judged.parts.first_stage)
    share = next((m.unanswerable for m in models if m is not None), None)
    if share is None:
        return None
    return {"unanswerable": round(share, 5), "stated": options.prior is not None}


def _noted(model: RelevanceModel | None, provenance: Mapping[str, Any]) -> RelevanceModel | None:
    return None if model is None else replace(model, provenance=plain_data(provenance))


def numbers_of(
    judged: Judged | None,
    section: Section,
    rows: Sequence[Row],
    whole: Policy | None,
    kind: FirstStageKind,
    options: FitOptions,
) -> dict[str, Any]:
    """The section that is written on the fresh half, beside the one that was there.

    Where nothing was fitted, every question is fresh.
    """

    def described(served: Sequence[Served]) -> dict[str, Any]:
        return describe(served, top_n=options.top_n, seed=options.seed, prior=options.prior)

    ordered = sorted(rows, key=lambda row: (row.query_id, row.stratum))
    fresh = [serve(row, section) for row in ordered] if judged is None else list(judged.served)
    in_place = None
    if whole is not None and kind in whole.sections:
        before = [serve(s.row, whole.section(kind)) for s in fresh]
        pairs = [(b, f) for b, f in zip(before, fresh, strict=True) if f.row.answerable]
        in_place = {
            "policy": whole.name,
            **described(before),
            "new_minus_this": difference(
                compared(
                    np.array([b.placed.ndcg10 for b, _ in pairs]),
                    np.array([f.placed.ndcg10 for _, f in pairs]),
                    [f.row for _, f in pairs],
                    seed=options.seed,
                )
            ),
        }
    fitted_on = None if judged is None else judged.fitted_on
    return {"held_out": {**described(fresh), "fitted_on": fitted_on}, "in_place": in_place}


def reranker_numbers(judged: Judged | None, rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """Whether the scorer's own order is worse than the first stage's, on every question.

    Nothing needs to be fitted for that. It is worse where interval and test say so, unless the
    fitted order, which reads the first stage's scores as well, is shown to be better than the
    first stage, and than what those scores give without the scorer.
    """
    answerable = [row for row in rows if row.answerable]
    first = np.array([place_by_first_stage(row, None).ndcg10 for row in answerable])
    raw = np.array([raw_ndcg10(row) for row in answerable])
    found = compared(first, raw, answerable, seed=seed)
    mended = False
    if judged is not None and judged.parts.reranked is not None:
        fresh = [s for s in judged.served if s.row.answerable]
        own = [s.row for s in fresh]
        reranked = np.array([s.reranked.ndcg10 for s in fresh])
        mended = all(
            compared(np.array(without), reranked, own, seed=seed).better()
            for without in (
                [place_by_first_stage(row, None).ndcg10 for row in own],
                [s.skipped.ndcg10 for s in fresh],
            )
        )
    return {
        "first_stage": round(float(first.mean()), 5),
        "raw_order": round(float(raw.mean()), 5),
        "raw_minus_first_stage": difference(found),
        "worse": found.worse(),
        "mended": mended,
    }


def drawn_note(judged: Judged | None) -> list[str]:
    """A sentence where halves could not keep document groups whole."""
    if judged is None or judged.unit == "group":
        return []
    return [
        "one document group holds more than half of the queries, so halves were drawn by query: "
        "what is said about fresh queries flatters the fit a little"
    ]


def plain_data(value: Any) -> Any:
    """JSON types alone; raises where a number is not finite."""
    return json.loads(json.dumps(value, allow_nan=False))
