"""Reads everything that a calibration fits on, each question once: rows for the fits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from rankgate.decide.signals import compute_signals
from rankgate.errors import InputError
from rankgate.plan import kind_of
from rankgate.scorers import Scorer
from rankgate.scorers.wrappers import Cached
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.rows import ANSWERABLE, Row, pooled_row
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.negatives.unanswerable import (
    REMOVED,
    Question,
    hidden_passages,
    questions_data,
    stage_without,
)
from rankgate_eval.run.pool import Pooled, read_pool
from rankgate_eval.run.system import FirstStage, IndexStage

Report = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read.

    Attributes:
        kind: which scores all candidates carry.
        failed: queries on which the scorer failed.
    """

    rows: tuple[Row, ...]
    kind: FirstStageKind
    failed: tuple[str, ...]
    notes: tuple[str, ...]


def read_rows(
    stage: FirstStage,
    data: Dataset,
    *,
    judged: Sequence[str],
    unanswerable: Sequence[str],
    questions: Sequence[Question],
    scorer: Scorer,
    k: int,
    kind: FirstStageKind | None,
    lexicon: Collection[str] | None,
    report: Report,
    removed: bool = True,
    found: Mapping[str, Pooled] | None = None,
) -> Reading:
    """Retrieve and score every question.

    Args:
        judged: answerable queries; each is read a second time with its passages removed, if
            that is asked for.
        unanswerable: queries of the data set that the floor should refuse.
        questions: further questions that the corpus does not answer.
        scorer: reads the first k; its scores are kept while reading, since with a passage
            removed most of the list stays.
        kind: scores that are kept on the candidates; None: what all of them carry.
        removed: whether the judged are read again without their passages.
        found: the judged, where they were read already.

    Raises:
        InputError: the candidates lack a score that `kind` wants.
        SystemFailedError: first stage or scorer failed on too many queries.
    """
    remembering = Cached(scorer)

    def read(what: str, under: FirstStage, of: Dataset, ids: Sequence[str]) -> dict[str, Pooled]:
        return read_pool(
            under,
            of,
            ids,
            scorer=remembering,
            k=k,
            lexicon=lexicon,
            progress=lambda done, total: report(what, done, total),
        )

    notes: list[str] = []
    as_found = read("reading", stage, data, judged) if found is None else found
    removable = [q for q in judged if removed and data.relevant(q)]
    hidden = hidden_passages(
        data,
        removable,
        stage,
        progress=lambda done, total: report("finding near-duplicates", done, total),
    )
    without = read("reading without the answers", stage_without(stage, hidden), data, removable)
    if without and not isinstance(stage, IndexStage):
        note = "passages were removed from the candidate lists, asked for deeper: the system is "
        notes.append(note + "not an index from which they could be hidden")
        short = sum(len(p.candidates) < len(as_found[q].candidates) for q, p in without.items())
        if short:
            notes.append(
                f"{short} of {len(without)} lists are shorter with passages removed: the system "
                "gives no more than it gives"
            )
    others = questions_data(data, questions)
    asked = read("reading unanswerable questions", stage, others, list(others.queries))
    own = read("reading the data set's unanswerable questions", stage, data, unanswerable)
    every = [*as_found.values(), *without.values(), *asked.values(), *own.values()]
    seen = kind_of(c for pooled in every for c in pooled.candidates)
    if kind is None and seen is FirstStageKind.ORDER:
        notes.append("not all candidates carry a score: the first stage's order is all there is")
    kept = seen if kind is None else kind

    def row(p: Pooled, group: str, stratum: str, gold: Collection[str] = ()) -> Row:
        return pooled_row(_as_kind(p, kept, lexicon), gold=gold, group=group, stratum=stratum)

    made = {q.id: q for q in questions}
    # An earlier query names the group, so its name depends on the file's order; no sum does.
    groups: Mapping[str, str] = data.groups
    rows = [row(p, groups[q], ANSWERABLE, data.relevant(q)) for q, p in as_found.items()]
    rows += [row(p, groups[q], REMOVED) for q, p in without.items()]
    rows += [row(p, made[q].group or q, made[q].stratum) for q, p in asked.items()]
    rows += [row(p, groups[q], data.stratum_of(q)) for q, p in own.items()]
    failed = sorted({p.query_id for p in every if p.scorer_error is not None})
    if failed:
        notes.append(
            f"the scorer failed on {len(failed)} queries, which are served by the first stage"
        )
    return Reading(rows=tuple(rows), kind=kept, failed=tuple(failed), notes=tuple(notes))


def _as_kind(pooled: Pooled, kind: FirstStageKind, lexicon: Collection[str] | None) -> Pooled:
    """The same candidates with only the scores that a first stage of this kind gives."""
    wants_dense = kind in (FirstStageKind.HYBRID, FirstStageKind.DENSE)
    wants_bm25 = kind in (FirstStageKind.HYBRID, FirstStageKind.BM25)
    for c in pooled.candidates:
        if (wants_dense and c.dense is None) or (wants_bm25 and c.bm25 is None):
            lacks = "dense" if wants_dense and c.dense is None else "BM25"
            raise InputError(
                f"the first stage is said to be {kind.value!r}, but candidate {c.id!r} of query "
                f"{pooled.query_id!r} has no {lacks} score. Leave --first-stage out, or give the "
                "candidates that score."
            )
    if all(
        (c.dense is None or wants_dense) and (c.bm25 is None or wants_bm25)
        for c in pooled.candidates
    ):
        return pooled
    candidates = tuple(
        replace(c, dense=c.dense if wants_dense else None, bm25=c.bm25 if wants_bm25 else None)
        for c in pooled.candidates
    )
    signals = compute_signals(pooled.query, candidates, lexicon=lexicon)
    return replace(pooled, candidates=candidates, signals=signals)
