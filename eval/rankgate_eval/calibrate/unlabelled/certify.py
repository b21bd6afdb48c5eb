"""Fits gate and floor without a label on half of the conversations, and certifies them on the rest.

A question is `asked` where it is the user's own, and a made negative otherwise. Where no policy is
fitted for the scorer, its raw score is put on a scale of 0 to 1: how much more often the best
passage of one's own questions looks as good than that of the negatives. That is no probability of
relevance, and is called so nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rankgate.decide.floor import Floor
from rankgate.decide.gate import Gate
from rankgate.decide.logistic import Feature, Logistic
from rankgate.decide.relevance import RelevanceModel
from rankgate.decide.section import Section
from rankgate.errors import InputError
from rankgate.types import FirstStageKind
from rankgate_eval.calibrate.gate_fit import fit_harm, gate_signals, harm_of
from rankgate_eval.calibrate.relevance_fit import fit_relevance, variants_of
from rankgate_eval.calibrate.rows import ANSWERABLE, Row
from rankgate_eval.calibrate.serve import Placed, Served, serve
from rankgate_eval.calibrate.unlabelled.claims import Bound, Drawing, last_that_holds
from rankgate_eval.calibrate.unlabelled.path import (
    OWN,
    FidelityOptions,
    Forecast,
    Observed,
    Setting,
    claims_of,
    lay_path,
)
from rankgate_eval.stats.fits import fit_logistic
from rankgate_eval.stats.folds import group_folds

FloatArray = npt.NDArray[np.float64]

_RIDGE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """What holds, and what it was seen on.

    Attributes:
        section: with the gate and the floor that hold.
        setting: the last that holds; None where nothing is claimed.
        tested: settings of the path, and how many of them were tested.
        served: every row of the second half, as `section` serves it.
        drawing: who speaks for each conversation, over `served`.
        notes: part to the reason why it is as it is.
        made: whether the scale of 0 to 1 was made here, of the scorer's own scores.
    """

    section: Section
    setting: Setting | None
    bounds: tuple[Bound, ...]
    tested: tuple[int, int]
    served: tuple[Served, ...]
    drawing: Drawing
    notes: dict[str, str] = field(default_factory=dict)
    made: bool = False


def kind_of_row(row: Row) -> str:
    """`asked` for one's own question, else the kind of negative."""
    return OWN if row.stratum == ANSWERABLE else row.stratum.split(":")[0]


def certify(
    rows: Sequence[Row],
    section: Section,
    options: FidelityOptions,
    *,
    kind: FirstStageKind,
    scale: str,
    lexicon: bool = False,
    chances: FloatArray | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Certified:
    """Fit on one half of the conversations and certify on the other.

    Args:
        rows: own questions (stratum `answerable`, `relevant` marking what the scorer hands over)
            and made negatives; `group` is the conversation.
        section: that fits scorer and first stage, whose relevance models are taken; without a
            model of reranked results the scale is made here.
        lexicon: whether the product will know the corpus's words.
        chances: (rows,) of each to speak for its conversation where it is drawn; None: all do.
        folds: of the cross-fitting inside the first half.
        seed: of halves, folds and the lot.

    Raises:
        InputError: no own question, or all of them of one conversation.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i].query_id, rows[i].stratum))
    members: dict[str, list[int]] = {}
    for i in order:
        members.setdefault(rows[i].group, []).append(i)
    asked = {rows[i].group for i in order if kind_of_row(rows[i]) == OWN}
    if len(asked) < 2:
        raise InputError(
            "calibration without labels needs questions of at least two conversations, got "
            f"{len(asked)}"
        )
    first, second = [], []
    # By conversation, whatever its size: a guarantee stands on conversations. One's own and the
    # foreign ones each in halves, so that neither half lacks a kind.
    for part in ([g for g in members if g in asked], [g for g in members if g not in asked]):
        if len(part) > 1:
            halves = group_folds(part, {}, folds=2, seed=seed)[0]
            first += [i for g in halves.train for i in members[g]]
            second += [i for g in halves.held_out for i in members[g]]
    fitting = [rows[i] for i in first]
    notes: dict[str, str] = {}
    made = section.reranked is None
    lacks = "the base policy has none for skipped questions"
    if made:
        section, lacks = _scaled(fitting, replace(section, floor=Floor()), kind, scale)
        if section.reranked is None:
            notes["floor"] = lacks
    options = replace(options, floor=options.floor and section.reranked is not None)
    if options.gate and options.floor and section.first_stage is None:
        options = replace(options, gate=False)
        notes["gate"] = f"rests: a floor that judges needs a number on either path, and {lacks}"
    section = replace(section, gate=Gate(min_remaining_ms=section.gate.min_remaining_ms))
    before = [serve(row, section) for row in fitting]
    changed = np.array([s.changed for s in before], dtype=np.float64)
    own = [i for i, row in enumerate(fitting) if kind_of_row(row) == OWN]
    harm, model = _harm(fitting, own, changed, lexicon=lexicon, folds=folds, seed=seed)
    forecast = Forecast(
        kinds=np.array([kind_of_row(row) for row in fitting]),
        groups=np.unique([row.group for row in fitting], return_inverse=True)[1].astype(np.intp),
        harm=harm,
        missed=np.array([s.missed for s in before], dtype=np.bool_),
        reranked=looks([s.reranked for s in before]),
        skipped=looks([s.skipped for s in before]),
    )
    path = lay_path(forecast, options, base=section.floor)
    notes |= path.notes
    options = replace(options, floor=options.floor and "floor" not in path.notes)
    fresh = [rows[i] for i in second]
    kinds = np.array([kind_of_row(row) for row in fresh])
    drawing = Drawing.of(
        [row.group for row in fresh],
        seed=seed,
        chances=None if chances is None else chances[second],
    )
    unset = [serve(row, section) for row in fresh]
    sections = [_with(section, setting, model) for setting in path.settings]

    def under(at: int) -> list[Served]:
        return [serve(b.row, sections[at], before=b) for b in unset]

    held, seen = last_that_holds(
        (
            claims_of(observed(under(i)), setting, kinds, drawing, options)
            for i, setting in enumerate(path.settings)
        ),
        confidence=options.confidence,
    )
    if held is None:
        if seen:
            failed = next(b for b in seen[0] if not b.holds)
            why = f"already the strictest setting fails: {_failing(failed, options)}"
            notes.setdefault("gate", why)
            notes.setdefault("floor", why)
        served, chosen, bounds = unset, section, seen[0] if seen else ()
    else:
        served, chosen, bounds = under(held), sections[held], seen[held]
        if path.settings[held].threshold is None and len(seen) > held + 1:
            failed = next(b for b in seen[held + 1] if not b.holds)
            notes.setdefault("gate", f"off, since with one {_failing(failed, options)}")
    return Certified(
        section=chosen,
        setting=None if held is None else path.settings[held],
        bounds=bounds,
        tested=(len(seen), len(path.settings)),
        served=tuple(served),
        drawing=drawing,
        notes=notes,
        made=made,
    )


def _failing(bound: Bound, options: FidelityOptions) -> str:
    """The claim that does not hold, in numbers."""
    return (
        f"{bound.failures} of {bound.n} {bound.name} (below {bound.upper:.2%} at "
        f"{options.confidence:.0%}, {bound.allowed:.1%} asked)"
    )


def observed(served: Sequence[Served]) -> Observed:
    """What was done to these rows."""
    return Observed(
        skips=np.array([s.skips for s in served], dtype=np.bool_),
        changed=np.array([s.changed for s in served], dtype=np.bool_),
        refused=np.array([not s.answers for s in served], dtype=np.bool_),
        weak=np.array([s.weak for s in served], dtype=np.bool_),
    )


def looks(placed: Sequence[Placed]) -> FloatArray:
    """(n,) what the floor reads; 1 where it has nothing to read, since nothing is refused then."""
    return np.array([1.0 if p.best is None else p.best for p in placed])


def _with(section: Section, setting: Setting, model: Logistic) -> Section:
    gate = section.gate
    if setting.threshold is not None:
        gate = replace(gate, model=model, threshold=min(1.0, setting.threshold))
    return replace(section, gate=gate, floor=setting.floor)


def _harm(
    rows: Sequence[Row],
    own: Sequence[int],
    changed: FloatArray,
    *,
    lexicon: bool,
    folds: int,
    seed: int,
) -> tuple[FloatArray, Logistic]:
    """(rows,) harm by models that have not seen the conversation, and the model of all."""
    signals = [row.signals for row in rows]
    names = gate_signals([signals[i] for i in own], lexicon=lexicon)
    harm = np.ones(len(rows))
    groups = sorted({row.group for row in rows})
    for fold in group_folds(groups, {}, folds=folds, seed=seed + 1) if len(groups) > 1 else ():
        held = set(fold.held_out)
        known = [i for i in own if rows[i].group not in held]
        if known:
            model = fit_harm([signals[i] for i in known], changed[known], names)
            for i, row in enumerate(rows):
                if row.group in held:
                    harm[i] = harm_of(model, signals[i])
    return harm, fit_harm([signals[i] for i in own], changed[np.array(own, dtype=np.intp)], names)


def _scaled(
    rows: Sequence[Row], section: Section, kind: FirstStageKind, scale: str
) -> tuple[Section, str]:
    """The section with a number from 0 to 1 on either path, or why one of them has none.

    The reranked order stays the scorer's. The first stage's scores are weighed so that they order
    as the scorer does, which is what its skipped questions are to come near to.
    """
    raw = _told_apart(rows, Logistic(features=(Feature(name="raw", weight=1.0),)), scored=True)
    if raw is None:
        why = "the scorer's best scores do not tell your questions from those without an answer"
        return replace(section, reranked=None, first_stage=None), why
    section = replace(section, reranked=RelevanceModel(model=raw, scale=scale), first_stage=None)
    marked = [_marked(row, serve(row, section)) for row in rows]
    try:
        weighed = fit_relevance(marked, variants_of(kind, scored=False)[0], scored=False).model
    except InputError as exc:
        return section, f"none can be made of the first stage's scores: {exc}"
    first = _told_apart(rows, replace(weighed, intercept=0.0), scored=False)
    if first is None:
        names = ", ".join(weighed.names) or "its order alone"
        return section, (
            f"by {names} the first stage does not tell your "
            "questions from those without an answer, so none can be made of it"
        )
    return replace(section, first_stage=RelevanceModel(model=first)), ""


def _marked(row: Row, served: Served) -> Row:
    """The row with what the scorer hands over with weight in the place of what is true."""
    marked = np.zeros_like(row.relevant)
    if kind_of_row(row) == OWN and row.relevant.size:
        marked[np.array(served.handed(served.reranked).weighty, dtype=np.intp)] = True
    return replace(row, relevant=marked, gold=int(marked.sum()))


def _told_apart(rows: Sequence[Row], model: Logistic, *, scored: bool) -> Logistic | None:
    """The model with slope and intercept that tell own questions from negatives.

    By the best passage of each, both kinds alike in weight; None where a higher number does not
    speak for one's own.
    """
    best, own = [], []
    for row in rows:
        seen = row.seen(scored=scored)
        if seen is None or not seen.relevant.size or model.missing(seen.columns):
            continue
        best.append(float(model.logits(seen.columns, seen.relevant.size).max()))
        own.append(kind_of_row(row) == OWN)
    y = np.array(own, dtype=np.float64)
    if not y.any() or y.all() or float(np.std(best)) <= 1e-9:
        return None
    shares = np.where(y > 0, 0.5 / y.sum(), 0.5 / (y.size - y.sum()))
    intercept, slope = fit_logistic(np.array(best)[:, None], y, shares, ridge=_RIDGE)
    if slope[0] <= 0.0:
        return None
    return Logistic(
        intercept=intercept,
        features=tuple(replace(f, weight=f.weight * float(slope[0])) for f in model.features),
    )
