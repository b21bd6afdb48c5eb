"""The fusion of an index's lists: chosen on the candidates' own scores, and by cross-fitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankgate.decide.signals import compute_signals
from rankgate.retrieve import Fusion
from rankgate.scorers import Scores
from rankgate_eval.calibrate.reading import Report
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.run.collect import FirstStageResult, collect
from rankgate_eval.run.fusion_fit import CrossfitFusion, FusionFit, crossfit_fusion, fit_fusion
from rankgate_eval.run.metrics import measure
from rankgate_eval.run.pool import Pooled
from rankgate_eval.run.system import IndexStage


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedFusion:
    """The fusion for the policy, and what cross-fitting says of tuning it.

    Attributes:
        fit: on all judged queries.
        crossfit: each query by a fusion chosen without its document group.
        held_out: nDCG@10 of the latter; None where nothing was tuned.
    """

    fit: FusionFit
    crossfit: CrossfitFusion
    held_out: float | None


def tune_fusion(
    stage: IndexStage,
    data: Dataset,
    query_ids: Sequence[str],
    *,
    k: int,
    folds: int,
    seed: int,
    report: Report,
) -> TunedFusion:
    """Choose fusion weights; nothing is scored by the scorer.

    Plain fusion stays where tuning does not gain on queries held out as well: then its weights
    are this split's luck.
    """
    found = collect(
        stage,
        data,
        query_ids,
        k=k,
        progress=lambda done, total: report("retrieving", done, total),
    ).found
    pools = {q: _unscored(f, k) for q, f in found.items()}
    relevant = {q: data.relevant(q) for q in pools}
    fit = fit_fusion(pools, relevant, groups=data.groups)
    crossfit = crossfit_fusion(pools, relevant, data.groups, folds=folds, seed=seed)
    held_out = None
    if crossfit.fusions:
        judged = [q for q in crossfit.orders if relevant[q]]
        held_out = measure(data.qrels, crossfit.orders, judged, names=["ndcg@10"]).mean("ndcg@10")
    if fit.fusion is not None and (held_out is None or held_out <= fit.plain_ndcg10):
        fit = replace(
            fit,
            fusion=Fusion(),
            ndcg10=fit.plain_ndcg10,
            note=f"plain RRF stays: tuning gains nothing on queries held out ({fit.note})",
        )
    return TunedFusion(fit=fit, crossfit=crossfit, held_out=held_out)


def fusion_numbers(tuned: TunedFusion | None, fusion: Fusion) -> dict[str, Any]:
    """The fusion, and what tuning it is worth, with and without cross-fitting."""
    if tuned is None:
        return {"fusion": fusion.to_dict(), "note": "not fitted"}
    found: dict[str, Any] = {
        "fusion": fusion.to_dict(),
        "note": tuned.fit.note,
        "plain_ndcg10": round(tuned.fit.plain_ndcg10, 5),
        "fitted_ndcg10": round(tuned.fit.ndcg10, 5),
        "n": tuned.fit.n,
    }
    if tuned.held_out is not None:
        found["cross_fitted_ndcg10"] = round(tuned.held_out, 5)
    return found


def _unscored(found: FirstStageResult, k: int) -> Pooled:
    candidates = found.candidates[:k]
    return Pooled(
        found=found,
        candidates=candidates,
        scores=Scores(
            values=np.zeros(len(candidates), dtype=np.float32),
            scale="",
            scored=np.zeros(len(candidates), dtype=np.bool_),
        ),
        signals=compute_signals(found.query, candidates),
        scorer_ms=0.0,
    )
