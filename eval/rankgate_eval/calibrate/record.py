"""What a calibration writes down about itself: parts with their reasons, numbers, plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rankgate.decide.relevance import RelevanceModel
from rankgate.policy import Policy, Section
from rankgate.retrieve import Fusion
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.fit import FitOptions
from rankgate_eval.calibrate.held_out import Judged, section_of
from rankgate_eval.calibrate.measure import compared, describe, difference
from rankgate_eval.calibrate.reading import TunedFusion
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import serve
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.metrics import measure

__all__ = ["count_strata", "drawn_note", "fusion_numbers", "numbers_of", "parts_of", "plain_data"]


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
            parts[name].update(n=fitted.n, dropped=dict(fitted.dropped))
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
    """The new policy on queries held out, beside the one that was there, on the same queries."""
    ordered = sorted(rows, key=lambda row: (row.query_id, row.stratum))
    before = None
    if whole is not None and kind in whole.sections:
        old = whole.section(kind)
        before = [serve(row, old) for row in ordered]
    fresh = [serve(row, section) for row in ordered] if judged is None else list(judged.served)
    held_out = describe(fresh, top_n=options.top_n, seed=options.seed)
    held_out["cross_fitted"] = judged is not None
    in_place = None
    if before is not None and whole is not None:
        in_place = {
            "policy": whole.name,
            **describe(before, top_n=options.top_n, seed=options.seed),
        }
        pairs = [
            (b.placed.ndcg10, f.placed.ndcg10, f.row)
            for b, f in zip(before, fresh, strict=True)
            if f.row.answerable
        ]
        in_place["new_minus_this"] = difference(
            compared(
                np.array([b for b, _, _ in pairs]),
                np.array([f for _, f, _ in pairs]),
                [r for _, _, r in pairs],
                seed=options.seed,
            )
        )
    return {"held_out": held_out, "in_place": in_place}


def fusion_numbers(
    tuned: TunedFusion | None, data: Dataset, judged: Sequence[str], fusion: Fusion
) -> dict[str, Any]:
    """The fusion, and what tuning it is worth, with and without cross-fitting."""
    if tuned is None:
        return {"fusion": fusion.to_dict(), "note": "not fitted"}
    found: dict[str, Any] = {
        "fusion": fusion.to_dict(),
        "note": tuned.fit.note,
        "plain_ndcg10": round(tuned.fit.plain_ndcg10, 5),
        "fitted_ndcg10": round(tuned.fit.ndcg10, 5),
        "n": tuned.fit.n,
    }
    if tuned.crossfit.fusions:
        after = measure(data.qrels, tuned.crossfit.orders, list(judged), names=["ndcg@10"])
        found["cross_fitted_ndcg10"] = round(after.mean("ndcg@10"), 5)
    return found


def drawn_note(judged: Judged | None) -> list[str]:
    """A sentence where folds could not keep document groups whole."""
    if judged is None or judged.parts.unit == "group":
        return []
    return [
        "one document group holds more than half of the queries, so folds were drawn by query: "
        "what is said about held-out queries flatters the fit a little"
    ]


def count_strata(rows: Sequence[Row]) -> dict[str, int]:
    """Stratum to the number of its questions."""
    names = sorted(row.stratum for row in rows)
    return {name: names.count(name) for name in dict.fromkeys(names)}


def plain_data(value: Any) -> Any:
    """JSON types alone; raises where a number is not finite."""
    return json.loads(json.dumps(value, allow_nan=False))
