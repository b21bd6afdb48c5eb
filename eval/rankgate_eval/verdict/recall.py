"""Recall of the first stage by depth, and the knee of the curve."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankgate.types import FirstStageKind
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.result.parts import CurvePoint, RecallCurve
from rankgate_eval.run.collect import FirstStageResult
from rankgate_eval.run.metrics import recall_curve
from rankgate_eval.run.system import FirstStage, IndexStage
from rankgate_eval.verdict.sections import interval

__all__ = [
    "DEPTHS",
    "KNEE_METHOD",
    "alternative_recall",
    "find_knee",
    "measure_recall",
    "reached_depth",
]

DEPTHS = (1, 2, 3, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200)
KNEE_METHOD = (
    "greatest distance above the chord from the first to the last point, depth on a log scale "
    "(Kneedle's criterion: Satopaa et al. 2011, doi:10.1109/ICDCSW.2011.20)"
)
_FLAT = 0.01


def find_knee(depths: Sequence[int], recall: Sequence[float]) -> int | None:
    """The depth at which the curve stands highest above its chord, or None.

    Depth is taken on a log scale, because the cost of a mistake is a factor, not a number of
    passages. There is no knee in fewer than three points, in a curve that rises by less than
    0.01 in all, or in one that nowhere stands above its chord.
    """
    x = np.log(np.asarray(depths, dtype=np.float64))
    y = np.asarray(recall, dtype=np.float64)
    if x.size < 3 or y[-1] - y[0] < _FLAT:
        return None
    above: npt.NDArray[np.float64] = (y - y[0]) / (y[-1] - y[0]) - (x - x[0]) / (x[-1] - x[0])
    best = int(np.argmax(np.round(above, 9)))
    return int(depths[best]) if above[best] > 1e-9 else None


def measure_recall(
    qrels: Mapping[str, Mapping[str, int]],
    rankings: Mapping[str, Sequence[str]],
    query_ids: Sequence[str],
    clusters: Sequence[str],
    *,
    depth: int,
    also: Sequence[int] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> RecallCurve:
    """Mean recall at each depth up to `depth`, with intervals.

    Args:
        qrels: query id to passage id to grade.
        rankings: query id to passage ids, best first, retrieved to `depth`.
        query_ids: judged queries.
        clusters: document group of each.
        depth: candidates that were asked for.
        also: further depths, such as K and top_n.
        resamples: of the intervals.
        seed: of the intervals.
    """
    depths = sorted({d for d in (*DEPTHS, *also, depth) if d <= depth})
    table = recall_curve(qrels, rankings, query_ids, depths)
    means = table.mean(axis=0)
    return RecallCurve(
        points=tuple(
            CurvePoint(
                depth=d,
                recall=float(means[i]),
                ci=interval(table[:, i], clusters, resamples=resamples, seed=seed),
            )
            for i, d in enumerate(depths)
        ),
        knee=find_knee(depths, [float(m) for m in means]),
        method=KNEE_METHOD,
        depth=depth,
    )


def reached_depth(
    found: Collection[FirstStageResult], *, k: int, depth: int, max_failures: float
) -> tuple[int, str | None]:
    """How deep the curve can go, and what a reader should know of it.

    Args:
        found: of every query, by `collect`.
        k: candidates that the second stage reads.
        depth: that were asked for beyond them.
        max_failures: share of the queries up to which the curve goes on where asking failed.

    Returns:
        `depth`, or k where asking deeper failed too often; and a sentence where it failed at all.
    """
    refused = [f for f in found if f.deeper_error is not None]
    if not refused:
        return depth, None
    few = len(refused) <= max_failures * len(found) and len(refused) < len(found)
    consequence = (
        f"for these only {k} count, so the recall curve is a lower bound beyond {k}"
        if few
        else f"so the recall curve ends at {k}"
    )
    first = refused[0]
    return depth if few else k, (
        f"Asked for {depth} candidates instead of {k}, the first stage failed on {len(refused)} "
        f"queries, {consequence}; what it found by {k} is measured as usual. "
        f"First: {first.query_id!r}: {first.deeper_error}"
    )


def alternative_recall(
    stage: FirstStage, data: Dataset, query_ids: Sequence[str], *, depth: int
) -> dict[str, float]:
    """Recall at `depth` of the other lists of the same index; none for other first stages."""
    if not isinstance(stage, IndexStage):
        return {}
    kinds = [FirstStageKind.BM25]
    if stage.index.has_dense:
        kinds += [FirstStageKind.DENSE, FirstStageKind.HYBRID]
    found = {}
    for kind in kinds:
        if kind is stage.kind:
            continue
        other = IndexStage(index=stage.index, kind=kind, hidden=stage.hidden)
        lists = {
            q: [c.id for c in other.candidates_for(q, data.queries[q], depth)] for q in query_ids
        }
        column = recall_curve(data.qrels, lists, query_ids, [depth])[:, 0]
        found[kind.value] = float(column.mean())
    return found
