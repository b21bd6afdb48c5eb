"""The whole fit: relevance models, gate and floor from the same rows, each by cross-fitting.

What the gate and the floor are set on must come from relevance models that have not seen the
query, or training fit would be taken for quality. So the rows are folded by document group, every
row is ordered by models of the other folds, and the gate's harm is predicted likewise. It is done
under several foldings, and what is read is the mean over them: one folding is a lottery ticket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rankgate.decide.floor import Floor
from rankgate.decide.gate import Gate
from rankgate.decide.logistic import Logistic
from rankgate.errors import InputError
from rankgate_eval.calibrate.floor_fit import Threshold, fit_floor
from rankgate_eval.calibrate.gate_fit import (
    FrontierPoint,
    choose_threshold,
    fit_harm,
    frontier,
    gate_signals,
    harm_of,
)
from rankgate_eval.calibrate.measure import clusters_of
from rankgate_eval.calibrate.options import FitOptions
from rankgate_eval.calibrate.relevance_fit import (
    FittedRelevance,
    fit_relevance,
    variants_of,
)
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.calibrate.serve import Placings, place_by_first_stage, place_by_scores
from rankgate_eval.stats.folds import group_folds
from rankgate_eval.stats.significance import compare

FloatArray = npt.NDArray[np.float64]

PARTS = ("reranked", "first_stage", "gate", "floor")
"""What can be fitted, and be null where its check fails."""

_LEXICON_PAYS = 0.02  # skip rate that unknown_share must add before the product needs a lexicon
_FOLDINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedParts:
    """Everything that a policy section is made of, and why a part is missing.

    Attributes:
        reranked: relevance model of reranked results; None: raw order.
        first_stage: relevance model of skipped and degraded results; None: as it came.
        gate: skips nothing where it has no model.
        floor: null where it is not set.
        refusing: the bound behind `refuse_below`.
        promised: the gate's point among them; None without a gate.
        points: skip rate against loss, by cross-fitting.
        unit: what the folds were drawn from; see `Fold`.
        notes: part to the reason why it is as it is.
    """

    reranked: FittedRelevance | None
    first_stage: FittedRelevance | None
    gate: Gate
    floor: Floor
    refusing: Threshold | None
    promised: FrontierPoint | None
    points: tuple[FrontierPoint, ...]
    unit: str
    notes: Mapping[str, str] = field(default_factory=dict)


def row_folds(
    rows: Sequence[Row], *, folds: int, seed: int
) -> tuple[list[tuple[list[int], list[int]]], str]:
    """Positions of the rows to fit on and to hold out, and the unit that was drawn.

    A query with its gold passage removed stays on the same side as the query itself.
    """
    at: dict[str, list[int]] = {}
    groups: dict[str, str] = {}
    for i, row in enumerate(rows):
        at.setdefault(row.query_id, []).append(i)
        groups[row.query_id] = row.group
    parts = group_folds(list(at), groups, folds=folds, seed=seed)
    pairs = [
        ([i for q in f.train for i in at[q]], [i for q in f.held_out for i in at[q]]) for f in parts
    ]
    return pairs, parts[0].unit


def fit_parts(
    rows: Sequence[Row],
    options: FitOptions,
    *,
    without: frozenset[str] = frozenset(),
    raw_alone: bool = False,
) -> FittedParts:
    """Fit all parts on these rows.

    Args:
        without: parts that are left out, of `PARTS`.
        raw_alone: whether the relevance model of reranked results reads the scorer's values
            alone (Platt's scaling), and so leaves its order as it is.

    Raises:
        InputError: too few queries to fold, or none with a relevant candidate.
    """
    drawn = [row_folds(rows, folds=options.folds, seed=options.seed + i) for i in range(_FOLDINGS)]
    foldings, unit = [folds for folds, _ in drawn], drawn[0][1]
    notes: dict[str, str] = {}
    kind = options.kind
    reranked_how, reranked_by = None, None
    if "reranked" not in without:
        variants = (("raw",),) if raw_alone else variants_of(kind, scored=True)
        reranked_how, reranked_by = _best_variant(
            rows, foldings, scored=True, variants=variants, prior=options.prior
        )
    first_how, first_by = None, None
    if "first_stage" not in without:
        variants = variants_of(kind, scored=False)
        first_how, first_by = _best_variant(
            rows, foldings, scored=False, variants=variants, prior=options.prior
        )
    unfitted = [[None] * len(rows)] * _FOLDINGS
    skipped: Placings = [
        [place_by_first_stage(row, model) for row, model in zip(rows, models, strict=True)]
        for models in (unfitted if first_by is None else first_by)
    ]
    by_scores = [
        [place_by_scores(row, model) for row, model in zip(rows, models, strict=True)]
        for models in (unfitted if reranked_by is None else reranked_by)
    ]
    reranked: Placings = [
        [s if r is None else r for r, s in zip(over, under, strict=True)]
        for over, under in zip(by_scores, skipped, strict=True)
    ]
    gate, skips = Gate(), np.zeros(len(rows), dtype=np.bool_)
    points: Sequence[FrontierPoint] = ()
    promised: FrontierPoint | None = None
    if "gate" in without:
        notes["gate"] = "left out"
    else:
        fitted = _fit_gate(rows, foldings, reranked, skipped, options)
        gate, promised, points, skips, notes["gate"] = fitted
    floor, refusing = Floor(), None
    if "floor" in without:
        notes["floor"] = "left out"
    elif reranked_how is None:
        notes["floor"] = "a floor needs the relevance model of reranked results"
    elif first_how is None:
        # Whoever refuses needs a probability on either path: then the gate rests.
        floor, refusing, notes["floor"] = fit_floor(rows, reranked, None, options)
        if floor.active and gate.model is not None:
            gate, promised, points = Gate(), None, ()
            notes["gate"] = (
                "rests: a refusal floor needs a probability on either path, and there is no "
                "relevance model of first-stage results"
            )
        elif not floor.active:
            floor, refusing = Floor(), None
    else:
        served = [
            [s if skip else r for r, s, skip in zip(over, under, skips, strict=True)]
            for over, under in zip(reranked, skipped, strict=True)
        ]
        floor, refusing, notes["floor"] = fit_floor(rows, served, skipped, options)
    return FittedParts(
        reranked=None
        if reranked_how is None
        else fit_relevance(rows, reranked_how, scored=True, prior=options.prior),
        first_stage=None
        if first_how is None
        else fit_relevance(rows, first_how, scored=False, prior=options.prior),
        gate=gate,
        floor=floor,
        refusing=refusing,
        promised=promised,
        points=tuple(points),
        unit=unit,
        notes=notes,
    )


Variant = tuple[str, ...]
Folds = Sequence[tuple[list[int], list[int]]]


def _best_variant(
    rows: Sequence[Row],
    foldings: Sequence[Folds],
    *,
    scored: bool,
    variants: Sequence[Variant],
    prior: float | None,
) -> tuple[Variant, list[list[Logistic]]]:
    """The first variant, unless another orders better by more than the standard error.

    Returns:
        The variant, and by folding for each row its model from the folds that did not hold it.
    """
    best: tuple[Variant, list[list[Logistic]]] | None = None
    kept: FloatArray = np.empty(0)
    answerable = [i for i, row in enumerate(rows) if row.answerable]
    groups = clusters_of([rows[i] for i in answerable])
    for variant in variants:
        by_folding = [
            _unseen_models(rows, folds, variant, scored=scored, prior=prior) for folds in foldings
        ]
        if len(variants) == 1:
            return variant, by_folding
        quality = np.mean(
            [[_quality(rows[i], models[i], scored) for i in answerable] for models in by_folding],
            axis=0,
        )
        if best is not None:
            gain = compare(kept, quality, groups, resamples=100, permutations=1)
            if not gain.mean > gain.standard_error:
                continue
        best, kept = (variant, by_folding), quality
    if best is None:
        raise InputError("no variant of the relevance model to fit")
    return best


def _unseen_models(
    rows: Sequence[Row],
    folds: Folds,
    variant: Variant,
    *,
    scored: bool,
    prior: float | None,
) -> list[Logistic]:
    models: dict[int, Logistic] = {}
    for train, held in folds:
        fitted = fit_relevance([rows[i] for i in train], variant, scored=scored, prior=prior)
        models.update(dict.fromkeys(held, fitted.model))
    return [models[i] for i in range(len(rows))]


def _quality(row: Row, model: Logistic, scored: bool) -> float:
    placed = place_by_scores(row, model) if scored else place_by_first_stage(row, model)
    return 0.0 if placed is None else placed.ndcg10


def _fit_gate(
    rows: Sequence[Row],
    foldings: Sequence[Folds],
    reranked: Placings,
    skipped: Placings,
    options: FitOptions,
) -> tuple[Gate, FrontierPoint | None, Sequence[FrontierPoint], npt.NDArray[np.bool_], str]:
    losses = np.array(
        [
            [r.ndcg10 - s.ndcg10 for r, s in zip(over, under, strict=True)]
            for over, under in zip(reranked, skipped, strict=True)
        ]
    )
    loss = losses.mean(axis=0)
    judged = np.array([row.answerable for row in rows])
    groups = [row.group for row in rows if row.answerable]
    best: tuple[float, tuple[str, ...], FloatArray, list[FrontierPoint], FrontierPoint] | None
    best = None
    tried = [False, True] if options.lexicon else [False]
    for lexicon in tried:
        names = gate_signals([r.signals for r in rows if r.answerable], lexicon=lexicon)
        if lexicon and "unknown_share" not in names:
            continue
        harms = np.ones((len(foldings), len(rows)))
        for harm, folds in zip(harms, foldings, strict=True):
            for train, held in folds:
                known = [i for i in train if judged[i]]
                model = fit_harm([rows[i].signals for i in known], loss[known], names)
                harm[held] = [harm_of(model, rows[i].signals) for i in held]
        harm = harms.mean(axis=0)
        points = frontier(harm[judged], loss[judged], groups)
        chosen = choose_threshold(points, max_loss=options.max_loss, skip_rate=options.skip_rate)
        if chosen is None:
            continue
        gained = chosen.skip_rate if options.skip_rate is None else -chosen.loss
        margin = _LEXICON_PAYS if options.skip_rate is None else 1e-3
        if best is None or gained > best[0] + margin:
            best = (gained, names, harm, points, chosen)
    if best is None:
        none = np.zeros(len(rows), dtype=np.bool_)
        return Gate(), None, (), none, "no query could be skipped within the loss that is allowed"
    _, names, harm, points, chosen = best
    model = fit_harm([r.signals for r in rows if r.answerable], loss[judged], names)
    gate = Gate(model=model, threshold=min(1.0, chosen.threshold))
    note = f"fitted on {int(judged.sum())} answerable queries"
    if "unknown_share" in model.names:
        note += "; needs the corpus's words (lexicon=) to know misspelt queries"
    return gate, chosen, points, harm <= chosen.threshold, note
