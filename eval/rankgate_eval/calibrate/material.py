"""Everything that a calibration fits on, apart from the fit: read once, and it can be kept.

Reading takes minutes, fitting seconds. A benchmark that fits the same questions again keeps this.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from rankgate.errors import InputError
from rankgate.profile import Profile, class_of_embedder
from rankgate.retrieve import DEFAULT_K, Fusion
from rankgate.scorers import Scorer, ScorerInfo
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.fusion import TunedFusion, tune_fusion
from rankgate_eval.calibrate.reading import (
    Reading,
    Report,
    read_rows,
)
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.negatives.near_miss import near_miss_questions
from rankgate_eval.negatives.unanswerable import NEAR_MISS, NEGATIVES, REMOVED, Question
from rankgate_eval.run.system import FirstStage, IndexStage
from rankgate_eval.run.system_choice import profile_of
from rankgate_eval.stats.folds import spread

LEAST_JUDGED = 100
"""Judged queries below which nothing is fitted."""

_MOST_MADE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What was read of one split.

    Attributes:
        split: of the data set; None: all of it.
        judged: answerable queries.
        k: candidates that the scorer read: as many as the first stage gives.
        folds, seed: of the fusion's cross-fitting, and of everything fitted later.
        tuned: the fusion; None where none was fitted.
        fusion: that the first stage ran with; None: its own.
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
    negatives: Collection[str] = (REMOVED,),
    k: int = DEFAULT_K,
    folds: int = 5,
    seed: int = 0,
    limit: int | None = None,
    embedder: str | None = None,
    tell: Report | None = None,
) -> Material:
    """Choose the fusion, then retrieve and score every question under it.

    Nothing outside the split is read. Arguments as in `calibrate`.

    Raises:
        InputError: no such split, no judged query, or an argument out of range.
        SystemFailedError: first stage or scorer failed on too many queries.
    """
    report: Report = _quiet if tell is None else tell
    strange = sorted(set(negatives) - set(NEGATIVES))
    if strange:
        raise InputError(f"negatives are of {', '.join(NEGATIVES)}; got {strange[0]!r}")
    judged, unanswerable = _chosen(data, split, limit)
    # What contradicts itself is said before anything is read.
    profile_under(scorer, stage, embedder)
    tuned: TunedFusion | None = None
    enough = len(judged) >= LEAST_JUDGED
    if enough and isinstance(stage, IndexStage) and stage.kind is FirstStageKind.HYBRID:
        tuned = tune_fusion(stage, data, judged, k=k, folds=folds, seed=seed, report=report)
        if tuned.fit.fusion is not None:
            stage = replace(stage, fusion=tuned.fit.fusion)
    fusion = None if tuned is None else tuned.fit.fusion
    if tuned is None and isinstance(stage, IndexStage):
        fusion = stage.fusion
    index = stage.index if isinstance(stage, IndexStage) else None
    lexicon = None if index is None else index.bm25.lexicon
    made = _near_misses(data, judged, seed, report) if NEAR_MISS in negatives else []
    reading = read_rows(
        stage,
        data,
        judged=judged,
        unanswerable=unanswerable,
        questions=[*questions, *made],
        scorer=scorer,
        k=k,
        kind=kind,
        lexicon=lexicon,
        report=report,
        removed=REMOVED in negatives,
    )
    given, short = depth_of(stage, data, reading, k)
    profile = profile_under(scorer, stage, embedder)
    told = [*reading.notes, *short, *unbound(profile, reading.kind)]
    if NEAR_MISS in negatives:
        told.append(f"{len(made)} near-miss questions were made of {len(judged)}; nobody read them")
    return Material(
        split=split,
        judged=tuple(judged),
        k=given,
        folds=folds,
        seed=seed,
        tuned=tuned,
        fusion=fusion,
        reading=replace(reading, notes=tuple(told)),
        profile=profile,
        scorer=scorer.info,
        lexicon=lexicon is not None,
    )


def _chosen(data: Dataset, split: str | None, limit: int | None) -> tuple[list[str], list[str]]:
    judged, unanswerable = data.judged(split), data.unanswerable(split)
    if not judged:
        where = data.name if split is None else f"split {split!r} of {data.name}"
        raise InputError(
            f"{where} has no judged query: calibration needs queries with their relevant passages"
        )
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit must be at least 1, got {limit}")
        judged, unanswerable = spread(judged, limit), spread(unanswerable, limit)
    return judged, unanswerable


def _near_misses(data: Dataset, judged: Sequence[str], seed: int, report: Report) -> list[Question]:
    from rankgate.encoders import TokenEncoder

    report("making near-miss questions", 0, 1)
    encoder = TokenEncoder.load()
    return near_miss_questions(data, judged, embed=encoder.embed, at_most=_MOST_MADE, seed=seed)


def profile_under(scorer: Scorer, stage: FirstStage, embedder: str | None) -> Profile:
    """Of the scorer, and of what is known of the first stage; what was named goes first."""
    known = profile_of(stage)
    if embedder is not None and isinstance(stage, IndexStage):
        raise InputError(
            f"an embedder is named for a system of one's own, got {embedder!r}; the index encodes "
            f"its passages itself, with {known.embedder!r}"
        )
    return Profile.of_scorer(
        scorer.info,
        embedder=known.embedder if embedder is None else embedder,
        space=known.space,
        analyser=known.analyser,
    )


def depth_of(stage: FirstStage, data: Dataset, reading: Reading, k: int) -> tuple[int, list[str]]:
    """How many candidates the first stage gives of the k asked for, and a note where it is fewer.

    An index, or a corpus that holds no more, would give k as soon as there were as many.
    """
    deepest = max((row.relevant.size for row in reading.rows), default=0)
    if isinstance(stage, IndexStage) or not 0 < deepest < min(k, len(data.corpus)):
        return k, []
    return deepest, [
        f"the system gives at most {deepest} candidates, though {k} were asked for: the policy "
        f"is fitted for k {deepest}, and reads no more where the system learns to give them"
    ]


def unbound(profile: Profile, kind: FirstStageKind) -> list[str]:
    """A note where the policy would not notice that the vectors are another model's."""
    if kind is FirstStageKind.BM25:
        return []
    named = class_of_embedder(profile.embedder)
    if named is not None:
        return [
            f"of the embedder only the class is known, {named}: over another class the policy "
            "warns, over another model in the same class it is used without a word. Name the model "
            "with --embedder, and a change is an error"
        ]
    if profile.embedder is not None:
        return []
    return [
        "the policy is not bound to an embedder, because the system does not say which model made "
        "its vectors: over another one's it would be used without a word. Name it with --embedder"
    ]


def _quiet(what: str, done: int, total: int) -> None:
    """No progress is wanted."""
