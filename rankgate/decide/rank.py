"""The one place that cuts a list to K, orders it, drops passages and refuses queries.

Serving, calibration, evaluation, Compare and the skip audit call `rank`. It is pure arithmetic on
values that were read before: no clock, no I/O, and nothing that stands beyond K, belongs to another
query, or was not read moves a decision within K.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rankgate.decide.evidence import LISTED, evidence_of
from rankgate.decide.floor import Band, Floor
from rankgate.decide.logistic import sigmoid
from rankgate.decide.relevance import RelevanceModel, relevance_features
from rankgate.decide.rounding import beside
from rankgate.decide.section import Section
from rankgate.decide.signals import Signals, compute_signals
from rankgate.decide.sufficiency import Judged
from rankgate.scorers.protocol import Scores
from rankgate.types import Candidate, Dropped, Passage, Path

__all__ = ["CandidateList", "Ranking", "rank", "rank_list"]

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandidateList:
    """The candidates of one query as relevance models see them: the first K, and how many came.

    Attributes:
        n: candidates that came, those beyond K included.
        within: how many of them are within K.
        rank: (n,) first-stage ranks.
        columns: feature name to (within,) values, without what a scorer would add.
        scores: of the first `within`; None where no scorer was asked, or it failed.
        read: (m,) positions that the scorer read.
        read_columns: feature name to (m,) values of those, `raw` among them.
    """

    n: int
    within: int
    rank: npt.NDArray[np.int64]
    columns: Mapping[str, FloatArray]
    scores: Scores | None = None
    read: IndexArray = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    read_columns: Mapping[str, FloatArray] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        scores: Scores | None,
        *,
        k: int,
        signals: Signals,
    ) -> CandidateList:
        """Features of one query's candidates.

        Args:
            candidates: best first by the first stage.
            scores: of the first K of them, in their order; None: nothing was read.
        """
        head = candidates[:k]
        read = np.empty(0, dtype=np.intp)
        columns = relevance_features(head, signals)
        read_columns: Mapping[str, FloatArray] = {}
        if scores is not None and scores.scored.any():
            read = np.flatnonzero(scores.scored)
            raw = scores.values[read].astype(np.float64)
            read_columns = {"raw": raw, **{name: known[read] for name, known in columns.items()}}
        return cls(
            n=len(candidates),
            within=len(head),
            rank=np.array([c.rank for c in candidates], dtype=np.int64),
            columns=columns,
            scores=scores if read.size else None,
            read=read,
            read_columns=read_columns,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """One query's candidates in their final order, and what becomes of each.

    Arrays run over the final order: all candidates that came, each once.

    Attributes:
        order: (n,) positions in the input, best first.
        logits: (n,) of the relevance model that ordered; NaN where none applied.
        raw: (n,) the scorer's values; NaN where it did not read.
        kept: (n,) what is handed on.
        below: (n,) what `drop_below` took away.
        refused: `below_floor` or `all_below_floor`; "" where the query is answered.
        refusal: that in a sentence with its numbers.
        band: what the floor says of the query in words.
        sufficiency: what is known of whether the best passages hold the answer; None: not asked.
        path: which stage ordered. Without scores it is `skipped`; whether that was a choice or a
            failure is the caller's to say.
        reason: why a result with scores is degraded; "" where it is not.
        notes: what the reader of the outcome should know.
    """

    order: IndexArray
    logits: FloatArray
    raw: FloatArray
    kept: npt.NDArray[np.bool_]
    below: npt.NDArray[np.bool_]
    refused: str = ""
    refusal: str = ""
    band: Band = Band.ANSWER
    sufficiency: Judged | None = None
    path: Path
    reason: str = ""
    detail: str = ""
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> float | None:
        """The highest probability of all candidates, which the floor reads; None without one."""
        known = self.logits[~np.isnan(self.logits)]
        return sigmoid(float(known.max())) if known.size else None

    def passages(self, candidates: Sequence[Candidate]) -> list[Passage]:
        """The same as values, for whoever hands them on."""
        found = []
        for place, index in enumerate(self.order.tolist()):
            logit, raw = float(self.logits[place]), float(self.raw[place])
            dropped = None
            if self.refused == "below_floor":
                dropped = Dropped.REFUSED
            elif self.below[place]:
                dropped = Dropped.BELOW_FLOOR
            elif not self.kept[place]:
                dropped = Dropped.BEYOND_TOP_N
            found.append(
                Passage(
                    candidate=candidates[index],
                    index=index,
                    rank=place + 1,
                    raw_score=None if np.isnan(raw) else raw,
                    logit=None if np.isnan(logit) else logit,
                    relevance_score=None if np.isnan(logit) else sigmoid(logit),
                    dropped=dropped,
                )
            )
        return found


def rank(
    query: str,
    candidates: Sequence[Candidate],
    scores: Scores | None,
    section: Section,
    *,
    top_n: int | None = None,
    signals: Signals | None = None,
    read: Sequence[float] | None = None,
) -> Ranking:
    """Cut to K, order, floor, and keep the best `top_n`.

    Ties are broken by first-stage rank. What stands beyond K follows in first-stage order, without
    a probability.

    Args:
        candidates: best first by the first stage.
        scores: of the first K; None orders by the first stage.
        section: relevance models, floor, K.
        top_n: passages to keep; None: the section's.
        signals: of the first K candidates, where they are known already.
        read: logits of a reader for the first `LISTED` passages of this very ranking, where the
            ranking without them was `unsure`.
    """
    if signals is None:
        signals = compute_signals(query, candidates[: section.k], lexical=section.reads_texts)
    listed = CandidateList.of(candidates, scores, k=section.k, signals=signals)
    plain = rank_list(listed, section, top_n=top_n)
    asked = section.sufficiency
    if asked is None or not listed.within:
        return plain
    # The answer may stand in what was not read: a part of the list refuses nothing.
    partial = plain.reason == "deadline_partial"
    first = [candidates[i] for i in plain.order[:LISTED].tolist()]
    logits = [None if np.isnan(v) else v for v in plain.logits[:LISTED].tolist()]
    judged = None if partial else asked.judge(evidence_of(query, first, logits), read)
    if judged is None:
        why = "only a part was read" if partial else "a feature that it reads is missing"
        return replace(plain, notes=(*plain.notes, f"sufficiency_not_applied: {why}"))
    if asked.floor.refuse_below is not None:  # in the place of the floor on likeness
        drops = replace(section, floor=Floor(drop_below=section.floor.drop_below))
        plain = rank_list(listed, drops, top_n=top_n)
    return _suffices(plain, judged, asked.floor)


def _suffices(ranking: Ranking, judged: Judged, floor: Floor) -> Ranking:
    """The ranking with what is known of its best passages in the place of its best probability."""
    if ranking.refused:  # every passage was dropped, or nothing is like the question
        return replace(ranking, sufficiency=judged)
    if not floor.refuses(judged.probability):
        return replace(ranking, sufficiency=judged, band=floor.band(judged.probability))
    shown, bound = beside(judged.probability, floor.refuse_below or 0.0)
    return replace(
        ranking,
        sufficiency=judged,
        band=Band.REFUSE,
        kept=np.zeros_like(ranking.kept),
        refused="below_floor",
        refusal=f"the passages hold the answer with probability {shown}, at least {bound} needed",
    )


def rank_list(listed: CandidateList, section: Section, *, top_n: int | None = None) -> Ranking:
    """`rank` of a list whose features are known, for fits that order it many times."""
    notes: list[str] = []
    scores = listed.scores
    if scores is None:
        return _cut(*_by_first_stage(listed, section, notes), listed, section, top_n, notes)
    ranked = _by_scores(listed, scores, section, notes)
    if scores.note:
        why = (Path.DEGRADED, scores.note, "the scorer fell back")
        return _cut(*ranked, listed, section, top_n, notes, why=why)
    if scores.complete or scores.order is not None:
        return _cut(*ranked, listed, section, top_n, notes, why=(Path.RERANKED, "", ""))
    why = (
        Path.DEGRADED,
        "deadline_partial",
        f"{listed.read.size} of {scores.scored.size} passages were read in time; the rest follow",
    )
    found = _cut(*ranked, listed, section, top_n, notes, why=why, partial=True)
    if found.refused:
        # The answer may stand in what was not read: a part of the list refuses nothing.
        notes.append("scores_unused: what was read in time is below the floor")
        found = _cut(
            *_by_first_stage(listed, section, notes), listed, section, top_n, notes, why=why
        )
    return found


Ordered = tuple[IndexArray, FloatArray, FloatArray]
"""Positions best first, and their logits and raw scores in that order, NaN where there is none."""


def _logits(
    model: RelevanceModel | None,
    columns: Mapping[str, FloatArray],
    n: int,
    scale: str | None,
    notes: list[str],
) -> FloatArray | None:
    """(n,) logits; None where no model is fitted, or it is for other numbers than these.

    Raw scores of another scale than the model's never meet it.
    """
    if model is None or not n:
        return None
    if model.scale is not None and model.scale != scale:
        notes.append(f"relevance_not_applied: scores are {scale}")
        return None
    missing = model.missing(columns)
    if missing:
        notes.append(f"relevance_not_applied: missing {', '.join(missing)}")
        return None
    return model.logits(columns, n)


def _by_first_stage(listed: CandidateList, section: Section, notes: list[str]) -> Ordered:
    """By the first-stage model's logit where one applies and orders, else as it came."""
    model = section.first_stage
    found = _logits(model, listed.columns, listed.within, None, notes)
    orders = found is not None and model is not None and model.orders
    key = found if found is not None and orders else np.zeros(listed.within)
    head = np.lexsort((np.arange(listed.within), listed.rank[: listed.within], -key))
    logits = np.full(listed.n, np.nan)
    if found is not None:
        logits[: listed.within] = found[head]
    return np.concatenate([head, _beyond(listed)]), logits, np.full(listed.n, np.nan)


def _by_scores(
    listed: CandidateList, scores: Scores, section: Section, notes: list[str]
) -> Ordered:
    """What was read first, by the model's logit or by raw score; what was not read behind it.

    What was not read gets no probability: the first stage's and the scorer's never meet one floor.
    """
    read = listed.read
    values = scores.values[read].astype(np.float64)
    found = _logits(section.reranked, listed.read_columns, read.size, scores.scale, notes)
    key = values if found is None else found
    by_key = np.lexsort((read, listed.rank[read], -key))
    if read.size == listed.within:
        behind = np.empty(0, dtype=np.intp)
    else:
        unread = np.ones(listed.within, dtype=np.bool_)
        unread[read] = False
        followers = (
            _by_first_stage(listed, section, [])[0] if scores.order is None else scores.order
        )
        behind = np.array([i for i in followers if i < listed.within and unread[i]], dtype=np.intp)
        if behind.size < int(unread.sum()):  # handed over fewer than K: the rest as it came
            rest = np.setdiff1d(np.flatnonzero(unread), behind, assume_unique=True)
            behind = np.concatenate([behind, rest[np.argsort(listed.rank[rest], kind="stable")]])
    order = np.concatenate([read[by_key], behind, _beyond(listed)])
    logits, raw = np.full(listed.n, np.nan), np.full(listed.n, np.nan)
    raw[: read.size] = values[by_key]
    if found is not None:
        logits[: read.size] = found[by_key]
    return order, logits, raw


def _beyond(listed: CandidateList) -> IndexArray:
    """Positions beyond K, in first-stage order."""
    beyond = np.arange(listed.within, listed.n)
    return beyond[np.argsort(listed.rank[listed.within :], kind="stable")]


def _cut(
    order: IndexArray,
    logits: FloatArray,
    raw: FloatArray,
    listed: CandidateList,
    section: Section,
    top_n: int | None,
    notes: list[str],
    *,
    why: tuple[Path, str, str] = (Path.SKIPPED, "", ""),
    partial: bool = False,
) -> Ranking:
    """Refuse, drop what is below the floor, then what is beyond top_n.

    What nobody read goes where anything is dropped, since nobody found it better; except where
    only a part was read in time, which says nothing of the rest.
    """
    floor = section.floor
    probabilities = [None if np.isnan(v) else sigmoid(v) for v in logits.tolist()]
    best = max((p for p in probabilities if p is not None), default=None)
    if floor.active and best is None and order.size:
        notes.append("floor_not_applied: no relevance model applied to this result")
    below = np.array([floor.drops(p) for p in probabilities], dtype=np.bool_)
    if not partial:
        below |= np.isnan(logits) & below.any()
    place = np.cumsum(~below)
    kept = ~below & (place <= (section.top_n if top_n is None else top_n))
    refused = refusal = ""
    if best is not None and floor.refuses(best):
        refused, kept = "below_floor", np.zeros_like(kept)
        shown, bound = beside(best, floor.refuse_below or 0.0)
        refusal = f"best probability {shown}, at least {bound} needed"
    elif order.size and not kept.any():
        refused, refusal = "all_below_floor", f"every passage is below {floor.drop_below}"
    path, reason, detail = why
    return Ranking(
        order=order,
        logits=logits,
        raw=raw,
        kept=kept,
        below=below,
        refused=refused,
        refusal=refusal,
        band=Band.REFUSE if refused else floor.band(best),
        path=path,
        reason=reason,
        detail=detail,
        notes=tuple(notes),
    )
