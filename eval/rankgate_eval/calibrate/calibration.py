"""Calibration: a policy section for one scorer over one first stage, fitted and confirmed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rankgate.decide.section import Section
from rankgate.decide.sufficiency import OFF
from rankgate.errors import InputError, PolicyError, ProfileMismatchError
from rankgate.policy import Policy
from rankgate.profile import Profile
from rankgate.retrieve import DEFAULT_K
from rankgate.scorers import Scorer
from rankgate.scorers.wrappers.traits import close
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.confirm import fit_checked
from rankgate_eval.calibrate.fit import PARTS
from rankgate_eval.calibrate.fusion import fusion_numbers
from rankgate_eval.calibrate.gate_fit import thinned
from rankgate_eval.calibrate.material import LEAST_JUDGED, Material, read_material
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.reading import Report
from rankgate_eval.calibrate.record import (
    drawn_note,
    mixture_of,
    numbers_of,
    parts_of,
    plain_data,
    reranker_numbers,
)
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.sufficiency import fit_sufficiency
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.fingerprint import fingerprint, question_marks
from rankgate_eval.negatives.unanswerable import REMOVED, Question
from rankgate_eval.run.metrics import check_depth
from rankgate_eval.run.scorer_choice import choose_reader
from rankgate_eval.run.system import FirstStage
from rankgate_eval.verdict.provenance import git_state, package_version

EVIDENCE_ALONE = "evidence"
"""`sufficiency` without a reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The policy, and what is known about it.

    Attributes:
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

    @property
    def harmful(self) -> bool:
        """Whether the scorer is worse than the first stage, and no fitted order mends it."""
        found = self.report["reranker"]
        return bool(found["worse"] and not found["mended"])


def calibrate(
    data: Dataset,
    *,
    stage: FirstStage,
    scorer: Scorer,
    split: str | None = None,
    kind: FirstStageKind | None = None,
    base: Policy | None = None,
    questions: Sequence[Question] = (),
    negatives: Collection[str] = (REMOVED,),
    k: int = DEFAULT_K,
    top_n: int = 5,
    max_loss: float | None = 0.002,
    skip_rate: float | None = None,
    false_refusals: float = 0.05,
    confidence: float = 0.95,
    prior: float | None = None,
    folds: int = 5,
    seed: int = 0,
    limit: int | None = None,
    embedder: str | None = None,
    command: str = "rankgate_eval.calibrate.calibrate(...)",
    notes: Sequence[str] = (),
    tell: Report | None = None,
    sufficiency: str = OFF,
) -> Calibration:
    """Fit a policy on half of a split's document groups, and confirm each part on the other half.

    Nothing outside the split is read. A part that is not confirmed is null, and the report says
    why. With fewer than `LEAST_JUDGED` judged queries the base's numbers stay.

    Args:
        split: the queries to fit on; None: all.
        kind: of the candidates' scores; None: what all of them carry.
        base: whose other sections are kept, and whose numbers stay where nothing is fitted;
            None: the default policy, where it fits the scorer.
        questions: further ones that the corpus does not answer.
        negatives: which ones are made of the data set's own: of `removed` and `near_miss`.
        k: candidates that are asked for; the policy is fitted for as many as come.
        max_loss: mean nDCG@10 that the gate may lose; ignored where `skip_rate` is given.
        skip_rate: share of the queries that the gate should skip.
        false_refusals: share of the answerable queries that the floor may refuse.
        confidence: of the bound on that share.
        prior: share of unanswerable questions that the probabilities are for; None: that of the
            questions read, about half.
        folds: of the cross-fitting inside the half that is fitted on.
        seed: of halves, folds and intervals.
        limit: judged queries, and unjudged ones, at most; spread over the data set.
        embedder: name of the model that made the system's vectors, where it cannot say.
        command: how this was called, for the record.
        notes: what a reader should know already.
        sufficiency: who reads question and passages, once each: `reader:FILE`,
            `cross-encoder:NAME`, `nli:NAME`, `llm:MODEL@URL`; `evidence`: nobody, and only what
            the passages tell by themselves is fitted; `off`: no such part.

    Raises:
        ConfigError: no such reader.
        InputError: no such split, no judged query, or an argument out of range.
        PolicyError: `base` does not fit the scorer.
        SystemFailedError: first stage or scorer failed on too many queries.
    """
    options = FitOptions(
        kind=FirstStageKind.HYBRID if kind is None else kind,
        max_loss=max_loss if skip_rate is None else None,
        skip_rate=skip_rate,
        false_refusals=false_refusals,
        confidence=confidence,
        prior=prior,
        top_n=top_n,
        folds=folds,
        seed=seed,
    )
    check_depth(k, top_n)
    if sufficiency != EVIDENCE_ALONE:
        choose_reader(sufficiency)  # a setting without a reader is told at once
    material = read_material(
        data,
        stage=stage,
        scorer=scorer,
        split=split,
        kind=kind,
        questions=questions,
        negatives=negatives,
        k=k,
        folds=folds,
        seed=seed,
        limit=limit,
        embedder=embedder,
        tell=tell,
    )
    return fit_material(
        data,
        material,
        options=options,
        base=base,
        command=command,
        notes=notes,
        tell=tell,
        sufficiency=sufficiency,
    )


def fit_material(
    data: Dataset,
    material: Material,
    *,
    options: FitOptions,
    base: Policy | None = None,
    command: str = "rankgate_eval.calibrate.fit_material(...)",
    notes: Sequence[str] = (),
    tell: Report | None = None,
    sufficiency: str = OFF,
) -> Calibration:
    """The second half of `calibrate`: fit and check on what `read_material` has read.

    Args:
        data: the data set that was read.
        options: what is asked for; kind, folds, seed and lexicon are the material's.
        base: as in `calibrate`.
        command: as in `calibrate`.
        notes: as in `calibrate`.
        sufficiency: as in `calibrate`.

    Raises:
        PolicyError: `base` does not fit the scorer.
    """
    reading, judged, tuned = material.reading, material.judged, material.tuned
    # A system that gives fewer than are kept: all of them are read and kept.
    k, profile = max(material.k, options.top_n), material.profile
    whole, original = base_section(base, reading.kind, profile)
    fusion = original.fusion if material.fusion is None else material.fusion
    options = replace(
        options,
        kind=reading.kind,
        lexicon=material.lexicon,
        folds=material.folds,
        seed=material.seed,
    )
    judgement, obstacle = None, ""
    if len(judged) < LEAST_JUDGED:
        obstacle = f"{len(judged)} judged queries, fewer than the {LEAST_JUDGED} that a fit needs"
    else:
        rounds = itertools.count(1)

        def round_done() -> None:
            if tell is not None:  # again without what failed, a part fewer each time
                tell("fitting and confirming, round", next(rounds), len(PARTS) + 1)

        try:
            judgement = fit_checked(reading.rows, options, progress=round_done)
        except InputError as exc:  # such as no relevant passage among any candidates
            obstacle = str(exc)
    shaped = replace(original, k=k, top_n=options.top_n, fusion=fusion, profile=profile)
    parts, section = parts_of(judgement, obstacle, shaped, material.scorer.scale)
    parts, section = _with_sufficiency(parts, section, reading.rows, sufficiency, options, tell)
    numbers = numbers_of(judgement, section, reading.rows, whole, reading.kind, options)
    made: dict[str, Any] = {
        "command": command,
        "version": package_version(),
        "commit": git_state()[0],
        "seed": options.seed,
        "folds": options.folds,
        "drawn_by": None if judgement is None else judgement.unit,
        "data": {
            "name": data.name,
            "split": material.split,
            "fingerprint": fingerprint(data, judged),
            # So that evaluation knows them again, whatever file or split they come from.
            "marks": " ".join(question_marks(data.queries[q] for q in judged)),
            "judged": len(judged),
            "groups": len({data.groups[q] for q in judged}),
            "strata": dict(Counter(sorted(row.stratum for row in reading.rows))),
        },
        "asked": {
            "max_loss": options.max_loss,
            "skip_rate": options.skip_rate,
            "false_refusals": options.false_refusals,
            "confidence": options.confidence,
            "prior": options.prior,
        },
        "mixture": mixture_of(judgement, options),
        "parts": parts,
        "fusion": fusion_numbers(tuned, fusion),
        "reranker": reranker_numbers(judgement, reading.rows, options.seed),
        "held_out": numbers["held_out"],
        "notes": [*notes, *reading.notes, *drawn_note(judgement)],
    }
    others = {} if whole is None else {n: s for n, s in whole.sections.items()}
    policy = Policy(
        name=f"{data.name}{'' if material.split is None else '-' + material.split}",
        sections={**others, reading.kind: section},
        provenance={
            **made,
            "section": reading.kind.value,
            "base": None if whole is None else origin(whole),
        },
    )
    full = {
        "first_stage": reading.kind.value,
        "scorer": material.scorer.id,
        "k": k,
        "top_n": options.top_n,
        **made,
        "section": policy.to_dict()["sections"][reading.kind.value],
        "fresh": [] if judgement is None else judgement.fresh,
        "frontier": [] if judgement is None else thinned(judgement.parts.points),
        "in_place": numbers["in_place"],
    }
    return Calibration(policy=policy, kind=reading.kind, report=plain_data(full))


def _with_sufficiency(
    parts: dict[str, Any],
    section: Section,
    rows: Sequence[Row],
    setting: str,
    options: FitOptions,
    tell: Report | None,
) -> tuple[dict[str, Any], Section]:
    """Whether the best passages hold the answer, where that was asked for and holds."""
    if setting == OFF:
        return parts, section
    reader = None if setting == EVIDENCE_ALONE else choose_reader(setting)
    try:
        found = fit_sufficiency(rows, section, reader, setting, options, tell=tell)
    finally:
        if reader is not None:
            close(reader)
    kept = found.found is not None
    told = {"kept": kept, "reason": found.reason, "check": found.numbers}
    return {**parts, "sufficiency": told}, replace(section, sufficiency=found.found)


def origin(base: Policy) -> dict[str, Any]:
    """Which policy the other sections are of, and what they were fitted on."""
    fitted = {k: base.provenance[k] for k in ("data", "section", "base") if k in base.provenance}
    return {"name": base.name, "sha256": base.sha256, **fitted}


def base_section(
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
