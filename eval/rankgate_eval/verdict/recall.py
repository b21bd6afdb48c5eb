"""Recall of the first stage by depth, and the knee of the curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rankgate.types import FirstStageKind
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.result.parts import CurvePoint, RecallCurve
from rankgate_eval.run.metrics import recall_curve
from rankgate_eval.run.system import FirstStage, IndexStage
from rankgate_eval.verdict.sections import interval

DEPTHS = (1, 2, 3, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200)
RISING = 0.02
"""Recall that a doubling of depth must bring to be worth reading."""
KNEE_METHOD = f"smallest depth from which no doubling brings {RISING:g} of recall"


def find_knee(recall: Mapping[int, float]) -> int | None:
    """The depth from which reading further brings nothing, or None where recall still rises.

    Whether to read more is asked here and nowhere else: chart, table and diagnosis say the same.
    A depth is judged by the step from it to the deepest measured one within twice it, the deepest
    of all by the step that leads to it. A step that is no doubling must bring its part of
    `RISING`, by the logarithm.

    Args:
        recall: measured depth to mean recall.

    Returns:
        The smallest measured depth from which on no step is worth reading; None where the last
        one is, or where there are fewer than two depths.
    """
    depths = sorted(recall)
    if len(depths) < 2:
        return None
    knee = None
    for depth in reversed(depths):
        start, end = _step(depths, depth)
        if recall[end] - recall[start] >= RISING * math.log2(end / start) - 1e-9:
            break
        knee = depth
    return knee


def _step(depths: Sequence[int], depth: int) -> tuple[int, int]:
    beyond = [d for d in depths if d > depth]
    if not beyond:
        return depths[-2], depths[-1]
    return depth, max([d for d in beyond if d <= 2 * depth], default=beyond[0])


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
        also: further depths, such as K and top_n.
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
        knee=find_knee(dict(zip(depths, means.tolist(), strict=True))),
        method=KNEE_METHOD,
        depth=depth,
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
