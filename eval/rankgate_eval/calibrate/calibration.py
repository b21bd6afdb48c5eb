"""Calibration: a policy section for one scorer over one first stage, fitted and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankgate.errors import InputError, PolicyError, ProfileMismatchError
from rankgate.firststage import Fusion
from rankgate.policy import Policy, Section
from rankgate.profile import Profile
from rankgate.relevance import RelevanceModel
from rankgate.scorers import Scorer
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.fit import PARTS, FitOptions
from rankgate_eval.calibrate.gate_fit import thinned
from rankgate_eval.calibrate.held_out import Judged, fit_checked, section_of
from rankgate_eval.calibrate.measure import compared, describe, difference
from rankgate_eval.calibrate.reading import (
    Report,
    TunedFusion,
    read_rows,
    tune_fusion,
    with_fusion,
)
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import serve
from rankgate_eval.calibrate.unanswerable import Question
from rankgate_eval.dataset import Dataset
from rankgate_eval.fingerprint import fingerprint
from rankgate_eval.folds import spread
from rankgate_eval.metrics import measure
from rankgate_eval.provenance import git_state, package_version, policy_sha256
from rankgate_eval.system import FirstStage, IndexStage

__all__ = ["LEAST_JUDGED", "Calibration", "calibrate"]

LEAST_JUDGED = 100
"""Judged queries below which nothing is fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The policy, and what is known about it.

    Attributes:
        policy: to be saved.
        kind: the section that was fitted.
        report: plain data: what was fitted, the checks, and the numbers on held-out queries.
    """

    policy: Policy
    kind: FirstStageKind
    report: Mapping[str, Any]

    @property
    def section(self) -> Section:
        """The section that was fitted."""
        return self.policy.section(self.kind)

    @property
    def fitted(self) -> tuple[str, ...]:
        """The parts that passed their check."""
        return tuple(p for p in PARTS if self.report["parts"][p]["kept"])


def calibrate(
    data: Dataset,
    *,
    stage: FirstStage,
    scorer: Scorer,
    split: str | None = None,
    kind: FirstStageKind | None = None,
    base: Policy | None = None,
    questions: Sequence[Question] = (),
    k: int = 50,
    top_n: int = 5,
    max_loss: float | None = 0.002,
    skip_rate: float | None = None,
    false_refusals: float = 0.05,
    confidence: float = 0.95,
    folds: int = 5,
    seed: int = 0,
    limit: int | None = None,
    command: str = "rankgate_eval.calibrate.calibrate(...)",
    notes: Sequence[str] = (),
    tell: Report | None = None,
) -> Calibration:
    """Fit a policy on one split of a data set, and check each part on held-out queries.

    Nothing outside the split is read. A part that fails its check is null, and the report says
    why. With fewer than `LEAST_JUDGED` judged queries the base's numbers stay.

    Args:
        data: the data set.
        stage: the first stage.
        scorer: the second.
        split: the queries to fit on; None: all.
        kind: of the candidates' scores; None: what all of them carry.
        base: whose other sections are kept, and whose numbers stay where nothing is fitted;
            None: the default policy, where it fits the scorer.
        questions: further ones that the corpus does not answer.
        k: candidates that the scorer reads.
        top_n: passages that are kept.
        max_loss: mean nDCG@10 that the gate may lose; ignored where `skip_rate` is given.
        skip_rate: share of the queries that the gate should skip.
        false_refusals: share of the answerable queries that the floor may refuse.
        confidence: of the bound on that share.
        folds: of all cross-fitting.
        seed: of the folds and intervals.
        limit: judged queries, and unjudged ones, at most; spread over the data set.
        command: how this was called, for the record.
        notes: what a reader should know already.
        tell: told of progress.

    Raises:
        InputError: no such split, no judged query, or an argument out of range.
        PolicyError: `base` does not fit the scorer.
        SystemFailedError: first stage or scorer failed on too many queries.
    """
    report: Report = _quiet if tell is None else tell
    judged, unjudged = _chosen(data, split, limit)
    options = FitOptions(
        kind=FirstStageKind.HYBRID if kind is None else kind,
        max_loss=max_loss if skip_rate is None else None,
        skip_rate=skip_rate,
        false_refusals=false_refusals,
        confidence=confidence,
        top_n=top_n,
        folds=folds,
        seed=seed,
    )
    if k < top_n:
        raise InputError(f"k ({k}) must be at least top_n ({top_n}): the reranker picks from k")
    enough = len(judged) >= LEAST_JUDGED
    tuned: TunedFusion | None = None
    hybrid = isinstance(stage, IndexStage) and stage.kind is FirstStageKind.HYBRID
    if enough and hybrid:
        tuned = tune_fusion(stage, data, judged, k=k, folds=folds, seed=seed, report=report)
        if tuned.fit.fusion is not None and not _gains(tuned, data):
            tuned = replace(tuned, fit=_plain(tuned))
        if tuned.fit.fusion is not None:
            stage = with_fusion(stage, tuned.fit.fusion)
    index = stage.index if isinstance(stage, IndexStage) else None
    lexicon = None if index is None else index.bm25.lexicon
    reading = read_rows(
        stage,
        data,
        judged=judged,
        unjudged=unjudged,
        questions=questions,
        scorer=scorer,
        k=k,
        kind=kind,
        lexicon=lexicon,
        report=report,
    )
    profile = _profile(scorer, stage, reading.kind)
    whole, original = _base(base, reading.kind, profile)
    fusion = original.fusion if tuned is None or tuned.fit.fusion is None else tuned.fit.fusion
    if isinstance(stage, IndexStage) and tuned is None and stage.fusion is not None:
        fusion = stage.fusion
    options = replace(options, kind=reading.kind, lexicon=lexicon is not None)
    judgement, obstacle = None, ""
    if not enough:
        obstacle = f"{len(judged)} judged queries, fewer than the {LEAST_JUDGED} that a fit needs"
    else:
        rounds = [0]

        def fold_done() -> None:
            rounds[0] += 1
            report("fitting and checking, fold", rounds[0], folds)

        try:
            judgement = fit_checked(reading.rows, options, progress=fold_done)
        except InputError as exc:  # such as no relevant passage among any candidates
            obstacle = str(exc)
    shaped = replace(original, k=k, top_n=top_n, fusion=fusion, profile=profile)
    parts, section = _parts(judgement, obstacle, shaped, scorer.info.scale)
    numbers = _numbers(judgement, section, reading.rows, whole, reading.kind, profile, options)
    made: dict[str, Any] = {
        "command": command,
        "version": package_version(),
        "commit": git_state()[0],
        "seed": seed,
        "folds": folds,
        "drawn_by": None if judgement is None else judgement.parts.unit,
        "data": {
            "name": data.name,
            "split": split,
            "fingerprint": fingerprint(data, judged),
            "judged": len(judged),
            "groups": len({data.groups[q] for q in judged}),
            "strata": _counts(reading.rows),
        },
        "asked": {
            "max_loss": options.max_loss,
            "skip_rate": options.skip_rate,
            "false_refusals": false_refusals,
            "confidence": confidence,
        },
        "parts": parts,
        "fusion": _fusion_numbers(tuned, data, judged, fusion),
        "held_out": numbers["held_out"],
        "notes": [*notes, *reading.notes, *_drawn_note(judgement)],
    }
    others = {} if whole is None else {n: s for n, s in whole.sections.items()}
    policy = Policy(
        name=f"{data.name}{'' if split is None else '-' + split}",
        sections={**others, reading.kind: section},
        provenance={
            **made,
            "section": reading.kind.value,
            "base": None if whole is None else {"name": whole.name, "sha256": policy_sha256(whole)},
        },
    )
    full = {
        "first_stage": reading.kind.value,
        "scorer": scorer.info.id,
        "k": k,
        "top_n": top_n,
        **made,
        "section": policy.to_dict()["sections"][reading.kind.value],
        "frontier": [] if judgement is None else thinned(judgement.parts.points),
        "in_place": numbers["in_place"],
    }
    return Calibration(policy=policy, kind=reading.kind, report=_plain_data(full))


def _chosen(data: Dataset, split: str | None, limit: int | None) -> tuple[list[str], list[str]]:
    judged, unjudged = data.judged(split), data.unjudged(split)
    if not judged:
        where = data.name if split is None else f"split {split!r} of {data.name}"
        raise InputError(
            f"{where} has no judged query: calibration needs queries with their relevant passages"
        )
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit must be at least 1, got {limit}")
        judged, unjudged = spread(judged, limit), spread(unjudged, limit)
    return judged, unjudged


def _gains(tuned: TunedFusion, data: Dataset) -> bool:
    """Whether tuning also gains on queries held out: else its weights are this split's luck."""
    if not tuned.crossfit.fusions:
        return False
    judged = [q for q in tuned.crossfit.orders if data.relevant(q)]
    after = measure(data.qrels, tuned.crossfit.orders, judged, names=["ndcg@10"])
    return after.mean("ndcg@10") > tuned.fit.plain_ndcg10


def _plain(tuned: TunedFusion) -> Any:
    return replace(
        tuned.fit,
        fusion=Fusion(),
        ndcg10=tuned.fit.plain_ndcg10,
        note=f"plain RRF stays: tuning gains nothing on queries held out ({tuned.fit.note})",
    )


def _profile(scorer: Scorer, stage: FirstStage, kind: FirstStageKind) -> Profile:
    if not isinstance(stage, IndexStage):
        return Profile.of_scorer(scorer.info)
    dense = kind in (FirstStageKind.HYBRID, FirstStageKind.DENSE)
    terms = kind in (FirstStageKind.HYBRID, FirstStageKind.BM25)
    return Profile.of_scorer(
        scorer.info,
        embedder=stage.index.encoder_name if dense else None,
        analyser=stage.index.bm25.analyser.name if terms else None,
    )


def _base(
    base: Policy | None, kind: FirstStageKind, profile: Profile
) -> tuple[Policy | None, Section]:
    """The policy whose other sections are kept, and the section that is refitted."""
    if base is not None:
        if kind not in base.sections:
            for other in base.sections:
                _same_scorer(base, other, profile)
            return base, Section()
        return base, base.check_profile(kind, profile)
    default = Policy.default()
    try:
        return default, default.check_profile(kind, profile)
    except (ProfileMismatchError, PolicyError):
        return None, Section()


def _same_scorer(base: Policy, kind: FirstStageKind, profile: Profile) -> None:
    scorer = {"embedder": None, "space": None, "analyser": None, "chunking": None}
    base.check_profile(kind, replace(profile, **scorer))


def _parts(
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
        gate=replace(section.gate, provenance=_plain_data(parts["gate"])),
        reranked=_noted(section.reranked, parts["reranked"]),
        first_stage=_noted(section.first_stage, parts["first_stage"]),
    )


def _noted(model: RelevanceModel | None, provenance: Mapping[str, Any]) -> RelevanceModel | None:
    return None if model is None else replace(model, provenance=_plain_data(provenance))


def _numbers(
    judged: Judged | None,
    section: Section,
    rows: Sequence[Row],
    whole: Policy | None,
    kind: FirstStageKind,
    profile: Profile,
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
        import numpy as np

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


def _fusion_numbers(
    tuned: TunedFusion | None, data: Dataset, judged: Sequence[str], fusion: Fusion
) -> dict[str, Any]:
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


def _drawn_note(judged: Judged | None) -> list[str]:
    if judged is None or judged.parts.unit == "group":
        return []
    return [
        "one document group holds more than half of the queries, so folds were drawn by query: "
        "what is said about held-out queries flatters the fit a little"
    ]


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    names = sorted(row.stratum for row in rows)
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _plain_data(value: Any) -> Any:
    """JSON types alone; raises where a number is not finite."""
    return json.loads(json.dumps(value, allow_nan=False))


def _quiet(what: str, done: int, total: int) -> None:
    """No progress is wanted."""


def load_base(path: str | Path | None) -> Policy | None:
    """The base policy, where one is named."""
    return None if path is None else Policy.load(path)
