"""Fits whether the best passages hold the answer, on one half, and confirms it on the other.

The section's own models order; a logistic over evidence, and another with a reader's logits, say
how likely the answer is among the best five. What is kept refuses no more of the answerable
questions of the fresh half than was allowed, and more of the others than the best probability
alone, set in the same way. Above the refused lies weak evidence: as far as marking it catches more
of the unanswerable questions than of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.decide.evidence import EVIDENCE, LISTED, evidence_of
from rankgate.decide.floor import Band, Floor
from rankgate.decide.logistic import Feature, Logistic, sigmoid
from rankgate.decide.rank import rank_list
from rankgate.decide.section import Section
from rankgate.decide.sufficiency import OFF, READINGS, ReaderName, Sufficiency, reading_features
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, ScoreStats
from rankgate.scorers.steps import score_many
from rankgate_eval.calibrate.fit import row_folds
from rankgate_eval.calibrate.floor_fit import fit_threshold
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.reading import Report
from rankgate_eval.calibrate.rows import Row, evidence
from rankgate_eval.stats.fits import fit_logistic
from rankgate_eval.stats.significance import compare

__all__ = [
    "Shown",
    "SufficiencyFit",
    "fit_sufficiency",
    "logistic_over",
    "no_higher",
    "shown_rows",
    "weak_below",
]

FloatArray = npt.NDArray[np.float64]

MOST_READ = 0.4
"""Share of the questions that a reader is asked about, at most."""
_MOST_WEAK = 0.2  # of the answerable questions; a warning that is always there is not read
_RIDGE = 0.01
_STARTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One question with what is told of its best passages.

    Attributes:
        row: the question.
        features: of `evidence_of`, and of a reader's logits where there is a reader.
        sufficient: whether a relevant passage is among the best five.
        stats: what reading it took.
    """

    row: Row
    features: Mapping[str, float]
    sufficient: bool
    stats: ScoreStats = field(default_factory=ScoreStats)


@dataclass(frozen=True, slots=True, kw_only=True)
class SufficiencyFit:
    """What was fitted, and what the fresh half saw.

    Attributes:
        found: None where the fresh half did not confirm it.
        reason: in a sentence.
        numbers: of the fresh half.
    """

    found: Sufficiency | None
    reason: str
    numbers: dict[str, Any]


def shown_rows(
    rows: Sequence[Row], section: Section, reader: Scorer | None, *, tell: Report | None = None
) -> list[Shown]:
    """Every row on the path of the scorer, ordered by the section, read by the reader."""
    found = []
    for done, row in enumerate(rows, start=1):
        ranking = rank_list(row.listed, section)
        first = ranking.order[:LISTED].tolist()
        passages = [row.candidates[i] for i in first]
        logits = [None if np.isnan(v) else v for v in ranking.logits[:LISTED].tolist()]
        features, stats = evidence_of(row.query, passages, logits), ScoreStats()
        if reader is not None and passages:
            job = Job(query=row.query, texts=[c.text for c in passages])
            (scores,) = score_many(reader, [job], ScoreContext())
            features |= reading_features([float(v) for v in scores.values])
            stats = scores.stats
        found.append(
            Shown(
                row=row,
                features=features,
                sufficient=bool(row.relevant[first].any()),
                stats=stats,
            )
        )
        if tell is not None:
            tell("reading question and passages", done, len(rows))
    return found


def logistic_over(
    shown: Sequence[Mapping[str, float]],
    names: Sequence[str],
    sufficient: Sequence[bool],
    shares: FloatArray,
) -> Logistic:
    """A logistic over named features, each known for every question."""
    x = np.array([[one[n] for n in names] for one in shown])
    intercept, weights = fit_logistic(x, sufficient, shares, ridge=_RIDGE)
    return Logistic(
        intercept=intercept,
        features=tuple(
            Feature(name=n, weight=w) for n, w in zip(names, weights.tolist(), strict=True)
        ),
    )


def fit_sufficiency(
    rows: Sequence[Row],
    section: Section,
    reader: Scorer | None,
    setting: str,
    options: FitOptions,
    *,
    tell: Report | None = None,
) -> SufficiencyFit:
    """Fit on one half of the document groups and confirm on the other.

    Args:
        rows: answerable and unanswerable questions.
        section: whose relevance models order.
        reader: asked about every row here, and where it is served about at most 40%.
        setting: who it is; `off` without one.
        options: share of false refusals, confidence, seed.
        tell: told of progress.
    """
    shown = shown_rows(rows, replace(section, sufficiency=None), reader, tell=tell)
    # A question whose answer is not among the best five is neither: it is left out.
    usable = [s for s in shown
              if s.sufficient == s.row.answerable and "best" in s.features]  # fmt: skip
    if len({s.sufficient for s in usable}) < 2:
        reason = "it needs answerable and unanswerable questions with a probability"
        return SufficiencyFit(found=None, reason=reason, numbers={})
    halves, _ = row_folds([s.row for s in usable], folds=2, seed=options.seed)
    fitting, fresh = ([usable[i] for i in half] for half in halves[0])
    name = OFF if reader is None else ReaderName.parse(setting).fitted
    made = _fitted(fitting, name, options)
    # The same over the best probability alone: a threshold that lies elsewhere is no gain.
    plain = _fitted(fitting, OFF, options, names=("best",))
    if made is None or plain is None:
        reason = "too few questions to set a threshold that can be shown to hold"
        return SufficiencyFit(found=None, reason=reason, numbers={})
    before, after = _told(fresh, plain), _told(fresh, made)
    # A refusal is right or wrong: who refuses more of both has gained nothing.
    sign = np.array([-1.0 if s.sufficient else 1.0 for s in fresh])
    gain = compare(
        before.refuses * sign,
        after.refuses * sign,
        [s.row.group for s in fresh],
        permutations=99,
        seed=options.seed,
    )
    spent = sum((s.stats for s in shown), ScoreStats())
    numbers = {
        "n": len(fresh),
        "reading": {"calls": spent.calls, "tokens": spent.tokens},
        "before": before.shares,
        "after": after.shares,
        "right_less_wrong_refusals": [round(v, 5) for v in (gain.mean, gain.low, gain.high)],
    }
    refused, answered = after.shares["refused"], after.shares["answered"]
    reason = (
        f"on the fresh half {refused:.1%} of the answerable questions are refused and "
        f"{answered:.1%} of the others answered; by the best probability alone "
        f"{before.shares['refused']:.1%} and {before.shares['answered']:.1%}. Called weak evidence "
        f"are {after.shares['weak']:.1%} of the answerable, and answered without these words "
        f"{after.shares['plain']:.1%} of the others"
    )
    if refused > options.false_refusals or not gain.low > 0.0:
        return SufficiencyFit(found=None, reason=f"{reason}: not kept", numbers=numbers)
    about: dict[str, Any] = {"n": len(fitting), "fresh": numbers}
    if reader is not None and reader.info.weights:
        about["weights"] = reader.info.weights
    made = replace(made, provenance=about)
    return SufficiencyFit(found=made, reason=reason, numbers=numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """(n,) whether each question is refused; shares of both kinds by what becomes of them."""

    refuses: FloatArray
    shares: dict[str, float]


def _told(shown: Sequence[Shown], made: Sufficiency) -> _Told:
    judged = [_judged(made, one.features) for one in shown]
    bands = np.array([made.floor.band(p) for p, _ in judged])
    refuses = (bands == Band.REFUSE).astype(np.float64)
    positive = np.array([s.sufficient for s in shown])
    shares = {
        "refused": float(refuses[positive].mean()),
        "weak": float((bands[positive] == Band.WEAK).mean()),
        "answered": float(1.0 - refuses[~positive].mean()),
        "plain": float((bands[~positive] == Band.ANSWER).mean()),
        "read": float(np.mean([read for _, read in judged])),
    }
    return _Told(refuses=refuses, shares=shares)


def _judged(made: Sufficiency, features: Mapping[str, float]) -> tuple[float, bool]:
    """By the engine's own judgement; the reader's logits are asked for where it is unsure."""
    told = {n: v for n, v in features.items() if n not in READINGS}
    first = made.judge(told)
    if first is None or not first.unsure:
        return (1.0 if first is None else first.probability), False
    # `reads_best` and `reads_mean` of two logits are these two again.
    best, mean = features["reads_best"], features["reads_mean"]
    second = made.judge(told, [best, 2.0 * mean - best])
    return (first.probability if second is None else second.probability), True


def _fitted(
    shown: Sequence[Shown], setting: str, options: FitOptions, names: Sequence[str] = EVIDENCE
) -> Sufficiency | None:
    """Models, the bounds of reading, and the threshold by models of the other fold."""
    folds, _ = row_folds([s.row for s in shown], folds=2, seed=options.seed + 1)
    sides = [(_models(shown, train, setting, names), held) for train, held in folds]
    whole = _models(shown, range(len(shown)), setting, names)
    positive = [i for i, s in enumerate(shown) if s.sufficient]
    other = np.array([i for i, s in enumerate(shown) if not s.sufficient])
    best: tuple[float, Sufficiency] | None = None
    for start in _STARTS if setting != OFF else (0.0,):
        low, high = _bounds(whole, shown, start)
        p = np.zeros(len(shown))
        for made, held in sides:
            bounded = replace(made, low=low, high=high)
            p[held] = [_judged(bounded, shown[i].features)[0] for i in held]
        bound = fit_threshold(
            p[positive],
            [shown[i].row.group for i in positive],
            share=options.false_refusals,
            confidence=options.confidence,
        )
        if bound is None:
            continue
        refuse = no_higher(p[positive], p[other], bound.value)
        answered = float((p[other] >= refuse).mean())
        if best is None or answered < best[0]:
            marked = weak_below(p[positive], p[other], refuse)
            floor = Floor(refuse_below=refuse, weak_below=marked)
            best = (answered, replace(whole, low=low, high=high, floor=floor))
    return None if best is None else best[1]


def no_higher(answerable: FloatArray, other: FloatArray, bound: float) -> float:
    """The bound, or what refuses as many of the others and wrongs fewer of the answerable."""
    refused = other[other < bound]
    if not refused.size:
        return bound
    highest = float(refused.max())
    above = answerable[answerable > highest]
    return min(bound, (highest + float(above.min())) / 2.0) if above.size else bound


def weak_below(answerable: FloatArray, other: FloatArray, refused: float) -> float | None:
    """Where the words catch most of the others less of the answerable; None: nowhere."""
    known = np.unique(np.concatenate([answerable, other]))
    above = known[known > refused]
    if not above.size:
        return None
    wronged = np.array([(answerable < t).mean() for t in above])
    caught = np.array([(other < t).mean() for t in above])
    told = np.where(wronged <= _MOST_WEAK, caught - wronged, -1.0)
    gained = told.max() > (other < refused).mean() - (answerable < refused).mean()
    return float(above[told.argmax()]) if gained else None


def _bounds(made: Sufficiency, shown: Sequence[Shown], start: float) -> tuple[float, float]:
    """Probabilities between which `MOST_READ` of the questions lie."""
    p = [sigmoid(made.evidence.logit(s.features) or 0.0) for s in shown]
    low, high = np.quantile(p, [start, min(1.0, start + MOST_READ)])
    return float(low), float(high)


def _models(
    shown: Sequence[Shown], at: Sequence[int], setting: str, asked: Sequence[str]
) -> Sufficiency:
    some = [shown[i] for i in at]
    features = [s.features for s in some]
    names = [n for n in asked if all(n in f for f in features)]
    y, shares = [s.sufficient for s in some], evidence([s.row for s in some])
    shares = shares / shares.sum()
    read = None
    if setting != OFF:
        read = logistic_over(features, [*names, *READINGS], y, shares)
    return Sufficiency(
        evidence=logistic_over(features, names, y, shares), read=read, reader=setting, floor=Floor()
    )
