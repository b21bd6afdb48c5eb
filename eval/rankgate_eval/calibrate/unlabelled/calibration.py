"""Calibration without labels: a policy section of questions alone, and what is guaranteed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rankgate.bounds import clopper_pearson
from rankgate.decide.rank import rank_list
from rankgate.decide.section import Section
from rankgate.errors import InputError
from rankgate.plan import kind_of
from rankgate.policy import Policy
from rankgate.retrieve import DEFAULT_K
from rankgate.scorers import Scorer
from rankgate.scorers.wrappers import Cached
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.calibration import base_section, origin
from rankgate_eval.calibrate.floor_fit import needed_for
from rankgate_eval.calibrate.material import depth_of, profile_under, unbound
from rankgate_eval.calibrate.reading import Report, read_rows
from rankgate_eval.calibrate.record import plain_data
from rankgate_eval.calibrate.rows import pooled_row
from rankgate_eval.calibrate.unlabelled.certify import Certified, certify, kind_of_row
from rankgate_eval.calibrate.unlabelled.claims import Claim, bound_of
from rankgate_eval.calibrate.unlabelled.path import OWN, FidelityOptions
from rankgate_eval.calibrate.unlabelled.shift import chances
from rankgate_eval.calibrate.unlabelled.sources import Asked, foreign_bank
from rankgate_eval.calibrate.unlabelled.trust import Trust
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.data.fingerprint import question_marks
from rankgate_eval.run.metrics import check_depth
from rankgate_eval.run.pool import read_pool
from rankgate_eval.run.system import FirstStage, IndexStage
from rankgate_eval.verdict.provenance import git_state, package_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlabelled:
    """The policy, and what is guaranteed of it."""

    policy: Policy
    kind: FirstStageKind
    certified: Certified
    report: Mapping[str, Any]


def calibrate_unlabelled(
    asked: Asked,
    *,
    stage: FirstStage,
    scorer: Scorer,
    trust: Trust,
    corpus: Mapping[str, str] | None = None,
    name: str = "unlabelled",
    options: FidelityOptions | None = None,
    kind: FirstStageKind | None = None,
    base: Policy | None = None,
    k: int = DEFAULT_K,
    top_n: int = 5,
    seed: int = 0,
    embedder: str | None = None,
    command: str = "rankgate_eval.calibrate.unlabelled.calibrate_unlabelled(...)",
    tell: Report | None = None,
) -> Unlabelled:
    """Fit gate and floor on questions that nobody judged, and certify them.

    Args:
        trust: why agreement with the scorer is worth having; without it no gate.
        corpus: passage id to text, where it is known: near-duplicates of what a question found
            are looked for in it; None: among the candidates of all questions.
        options: what is asked for; None: the usual.
        kind: of the candidates' scores; None: what all of them carry.
        base: as in `rankgate_eval.calibrate.calibrate`.
        seed: of halves, folds and the lot.
        embedder: name of the model that made the system's vectors, where it cannot say.
        command: how this was called, for the record.

    Raises:
        InputError: too few questions to part, or an argument out of range.
        PolicyError: `base` does not fit the scorer.
        SystemFailedError: first stage or scorer failed on too many questions.
    """
    check_depth(k, top_n)
    wanted = FidelityOptions() if options is None else options
    groups = asked.conversations()
    _check_enough(len(set(groups.values())), wanted, gate=trust.given)
    report: Report = (lambda what, done, total: None) if tell is None else tell
    remembering = Cached(scorer)
    index = stage.index if isinstance(stage, IndexStage) else None
    lexicon = None if index is None else index.bm25.lexicon
    plain = Dataset(
        name=name,
        corpus={} if corpus is None else corpus,
        queries=asked.questions,
        qrels={},
        splits={},
    )
    pool = read_pool(
        stage,
        plain,
        list(asked.questions),
        scorer=remembering,
        k=k,
        lexicon=lexicon,
        progress=lambda done, total: report("reading", done, total),
    )
    profile = profile_under(scorer, stage, embedder)
    seen = kind_of(c for pooled in pool.values() for c in pooled.candidates)
    whole, original = base_section(base, seen if kind is None else kind, profile)
    # The base's sufficiency would stand before the floor that is fitted here.
    shaped = replace(original, top_n=top_n, sufficiency=None)
    # What each path holds for best: without it nothing answers the question any more, as far as
    # anybody knows who has no label.
    best: dict[str, dict[str, int]] = {}
    texts: dict[str, str] = {}
    for query, pooled in pool.items():
        texts |= {c.id: c.text for c in pooled.candidates}
        row = pooled_row(pooled, gold=(), group="")
        if pooled.candidates:
            ranking = rank_list(row.listed, shaped)
            best[query] = {pooled.candidates[int(ranking.order[0])].id: 1}
    data = replace(plain, corpus=texts if corpus is None else corpus, qrels=best)
    reading = read_rows(
        stage,
        data,
        judged=list(asked.questions),
        unanswerable=(),
        questions=foreign_bank(asked.questions.values()) if wanted.floor else (),
        scorer=remembering,
        k=k,
        kind=kind,
        lexicon=lexicon,
        report=report,
        removed=wanted.floor,
        found=pool,
    )
    given, short = depth_of(stage, data, reading, k)
    rows = [replace(row, group=groups.get(row.query_id, row.query_id)) for row in reading.rows]
    heard, shifted = chances(rows, asked.sources)
    shaped = replace(
        shaped,
        k=max(given, top_n),
        profile=profile,
        fusion=original.fusion
        if not isinstance(stage, IndexStage) or stage.fusion is None
        else stage.fusion,
    )
    certified = certify(
        rows,
        shaped,
        replace(wanted, gate=wanted.gate and trust.given),
        kind=reading.kind,
        scale=scorer.info.scale,
        lexicon=lexicon is not None,
        chances=heard,
        seed=seed,
    )
    notes = dict(certified.notes)
    if wanted.gate and not trust.given:
        notes["gate"] = trust.reason
    made: dict[str, Any] = {
        "command": command,
        "version": package_version(),
        "commit": git_state()[0],
        "seed": seed,
        "labels": False,
        "data": {
            "name": name,
            "split": None,
            "marks": " ".join(question_marks(asked.questions.values())),
            "asked": len(asked.questions),
            "conversations": len(set(groups.values())),
            "sources": dict(Counter(asked.sources.values())),
            "kinds": dict(Counter(sorted(kind_of_row(row) for row in rows))),
        },
        "wanted": asdict(wanted),
        "trust": {"given": trust.given, "reason": trust.reason},
        **_found(certified, wanted, notes),
        "notes": [*asked.notes, *shifted, *reading.notes, *short, *unbound(profile, reading.kind)],
    }
    section = _noted(certified, made["guarantees"])
    others = {} if whole is None else dict(whole.sections)
    policy = Policy(
        name=name,
        sections={**others, reading.kind: section},
        provenance=plain_data(
            {
                **made,
                "section": reading.kind.value,
                "base": None if whole is None else origin(whole),
            }
        ),
    )
    full = {
        "first_stage": reading.kind.value,
        "scorer": scorer.info.id,
        "k": section.k,
        "top_n": top_n,
        **made,
        "section": policy.to_dict()["sections"][reading.kind.value],
    }
    return Unlabelled(
        policy=policy,
        kind=reading.kind,
        certified=replace(certified, section=section),
        report=plain_data(full),
    )


def _check_enough(conversations: int, wanted: FidelityOptions, *, gate: bool) -> None:
    """Before anything is read: whether so many could show anything at all."""
    shares = [min(wanted.refusals, wanted.false_answers)] if wanted.floor else []
    shares += [wanted.changed] if wanted.gate and gate else []
    least = min((needed_for(s, confidence=wanted.confidence) for s in shares), default=0)
    if conversations // 2 < least:
        raise InputError(
            f"questions of {conversations} conversations are too few for any guarantee, which "
            "stands on conversations, one question of each: half of them judge, and "
            f"{least} are needed there to show at {wanted.confidence:.0%} that at most "
            f"{max(shares):.1%} go wrong. Give questions of at least {2 * least} conversations "
            "(400 are enough for most), or ask for less: --false-refusals, --false-answers, "
            "--max-changed"
        )


def _found(
    certified: Certified, wanted: FidelityOptions, notes: Mapping[str, str]
) -> dict[str, Any]:
    """What is guaranteed, what was seen of the user's own questions, and why a part is missing."""
    held = certified.setting is not None
    served, drawing = certified.served, certified.drawing
    kinds = np.array([kind_of_row(s.row) for s in served])

    def share(name: str, failed: Sequence[bool], kind: str = OWN) -> dict[str, Any]:
        claim = Claim(
            name=name,
            allowed=1.0,
            among=kinds == kind,
            failed=np.array(failed, dtype=np.bool_),
            drawing=drawing,
        )
        found = bound_of(claim, confidence=wanted.confidence)
        low, high = clopper_pearson(found.failures, found.n)
        return {
            "share": round(found.share, 5),
            "interval": [round(low, 5), round(high, 5)],
            "n": found.n,
            "questions": found.questions,
        }

    return {
        "guarantees": {
            "confidence": wanted.confidence,
            "unit": "one question of a conversation, drawn by lot",
            "claims": [bound.to_dict() for bound in certified.bounds] if held else [],
            "failed": [] if held else [bound.to_dict() for bound in certified.bounds],
            "tested": certified.tested[0],
            "settings": certified.tested[1],
        },
        "shares": {
            "skipped": share("skipped", [s.skips for s in served]),
            "refused": share("refused", [not s.answers for s in served]),
            "weak": share("weak", [s.weak for s in served]),
            "refused_by_first_stage": share(
                "refused", [not s.answers_on(s.skipped) for s in served]
            ),
            "answered": {
                kind: share("answered", [s.answers and not s.weak for s in served], kind)
                for kind in np.unique(kinds[kinds != OWN]).tolist()
            },
        },
        "scale": "made here of the scorer's own scores: how much more often your questions' best "
        "passage looks as good than that of questions without an answer"
        if certified.made
        else "of the base policy",
        "why_not": dict(notes),
    }


def _noted(certified: Certified, guarantees: Mapping[str, Any]) -> Section:
    section = certified.section
    if section.gate.model is None:
        return section
    return replace(section, gate=replace(section.gate, provenance={"fidelity": guarantees}))
