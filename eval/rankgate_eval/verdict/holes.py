"""Holes in the judgements: what nobody judged counts as irrelevant, and not in each arm alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankgate_eval.data.dataset import Dataset
from rankgate_eval.verdict.sections import interval

_METRIC = "judged@10"


def holes_warning(
    data: Dataset,
    judged: Sequence[str],
    values: Mapping[str, Mapping[str, npt.NDArray[np.float64]]],
    clusters: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> list[str]:
    """A sentence where fewer of the policy's passages were judged than of the first stage's.

    Only where judges graded passages as irrelevant: else unjudged and irrelevant are the same.

    Args:
        judged: (n,) queries in the averages.
        values: arm to metric to (n,) values.
        clusters: (n,) document groups.
    """
    if not any(grade <= 0 for q in judged for grade in data.qrels.get(q, {}).values()):
        return []
    before, after = (values[arm][_METRIC] for arm in ("first_stage", "policy"))
    span = interval(after - before, clusters, resamples=resamples, seed=seed)
    if span is None or span[1] >= 0.0:
        return []
    return [
        f"Of the policy's first ten passages {after.mean():.0%} were judged, of the first stage's "
        f"{before.mean():.0%}: what nobody judged counts as irrelevant, so the policy may be "
        "better than its numbers. Judge its passages too (`rankgate eval judge`), or read the "
        "difference as a lower bound."
    ]


def counted_0_note(
    data: Dataset,
    split: str | None,
    values: Mapping[str, Mapping[str, npt.NDArray[np.float64]]],
    metrics: Sequence[str],
) -> tuple[str, ...]:
    """The averages with 0 for what nobody judged, in a sentence, where they were asked for.

    Args:
        values: arm or run to metric to (n,) values of its judged queries.
    """
    none = data.counted_0(split)
    if not none:
        return ()
    judged = len(data.judged(split))
    share = judged / (judged + none)
    told = "".join(
        f"{'; ' if i else ': '}{name.replace('_', ' ')} "
        + ", ".join(f"{m} {share * float(columns[m].mean()):.3f}" for m in metrics)
        for i, (name, columns) in enumerate(values.items())
    )
    return (
        f"Nobody judged {none} of {judged + none} questions. With 0 for each of them every average "
        f"is {share:.3f} of what is shown{told}. All that stands here is of judged questions: of "
        "the others nobody knows what there was to win.",
    )
