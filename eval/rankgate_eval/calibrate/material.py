"""Everything that a calibration fits on, apart from the fit: read once, and it can be kept.

Reading takes minutes, fitting seconds. A benchmark that fits the same questions again keeps this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rankgate.errors import InputError
from rankgate.profile import Profile
from rankgate.retrieve import DEFAULT_K, Fusion
from rankgate.scorers import Scorer, ScorerInfo
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.reading import (
    Reading,
    Report,
    TunedFusion,
    read_rows,
    tune_fusion,
    with_fusion,
)
from rankgate_eval.calibrate.unanswerable import Question
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.metrics import measure
from rankgate_eval.run.system import FirstStage, IndexStage
from rankgate_eval.stats.folds import spread
from rankgate_eval.stats.fusion_fit import FusionFit

__all__ = ["LEAST_JUDGED", "Material", "read_material"]

LEAST_JUDGED = 100
"""Judged queries below which nothing is fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What was read of one split.

    Attributes:
        split: of the data set; None: all of it.
        judged: answerable queries.
        k: candidates that the scorer read.
        folds, seed: of the fusion's cross-fitting, and of everything fitted later.
        tuned: the fusion; None where none was fitted.
        fusion: that the first stage ran with; None: its own.
        reading: the rows.
        profile: of first stage and scorer.
        scorer: who scored.
        lexicon: whether the corpus's words are known.
    """

    split: str | None
    judged: tuple[str, ...]
    k: int
    folds: int
    seed: int
    tuned: TunedFusion | None
    fusion: Fusion | None
    reading: Reading
    profile: Profile
    scorer: ScorerInfo
    lexicon: bool


def read_material(
    data: Dataset,
    *,
    stage: FirstStage,
    scorer: Scorer,
    split: str | None = None,
    kind: FirstStageKind | None = None,
    questions: Sequence[Question] = (),
    k: int = DEFAULT_K,
    folds: int = 5,
    seed: int = 0,
    limit: int | None = None,
    tell: Report | None = None,
) -> Material:
    """Choose the fusion, then retrieve and score every question under it.

    Nothing outside the split is read. Arguments as in `calibrate`.

    Raises:
        InputError: no such split, no judged query, or an argument out of range.
        SystemFailedError: first stage or scorer failed on too many queries.
    """
    report: Report = _quiet if tell is None else tell
    judged, unjudged = _chosen(data, split, limit)
    tuned: TunedFusion | None = None
    hybrid = isinstance(stage, IndexStage) and stage.kind is FirstStageKind.HYBRID
    if len(judged) >= LEAST_JUDGED and hybrid:
        tuned = tune_fusion(stage, data, judged, k=k, folds=folds, seed=seed, report=report)
        if tuned.fit.fusion is not None and not _gains(tuned, data):
            tuned = replace(tuned, fit=_plain(tuned))
        if tuned.fit.fusion is not None:
            stage = with_fusion(stage, tuned.fit.fusion)
    fusion = None if tuned is None else tuned.fit.fusion
    if tuned is None and isinstance(stage, IndexStage):
        fusion = stage.fusion
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
    return Material(
        split=split,
        judged=tuple(judged),
        k=k,
        folds=folds,
        seed=seed,
        tuned=tuned,
        fusion=fusion,
        reading=reading,
        profile=_profile(scorer, stage, reading.kind),
        scorer=scorer.info,
        lexicon=lexicon is not None,
    )


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


def _plain(tuned: TunedFusion) -> FusionFit:
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


def _quiet(what: str, done: int, total: int) -> None:
    """No progress is wanted."""
