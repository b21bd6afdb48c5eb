"""Weights for questions that are not quite those that will be asked.

Where a log stands beside other questions, the log is what will be asked. The others count by how
much more likely the log is to hold a question of such signals: the odds of a logistic that tells
the two apart (density ratio by classification, Bickel et al., JMLR 10, 2009), clipped. Such weights
are estimated, so what stands on them is only as good as they are; Kish's effective number says how
few questions the many count as.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankgate_eval.calibrate.gate_fit import gate_signals
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.stats.fits import fit_logistic

FloatArray = npt.NDArray[np.float64]

LOG = "log"
_CLIP = 10.0
_RIDGE = 1e-3


def shift_weights(
    rows: Sequence[Row], sources: Mapping[str, str]
) -> tuple[FloatArray | None, list[str]]:
    """(rows,) weights, and what a reader should know; None where all count alike.

    A question with its passages removed weighs as the question does, a foreign one 1.
    """
    asked = [i for i, row in enumerate(rows) if row.answerable]
    logged = np.array([sources[rows[i].query_id] == LOG for i in asked], dtype=np.bool_)
    if logged.all() or not logged.any():
        return None, []
    signals = [rows[i].signals for i in asked]
    names = gate_signals(signals, lexicon=False)
    columns = [[s.values()[name] for name in names] for s in signals]
    x = np.array([[0.0 if v is None else v for v in row] for row in columns], dtype=np.float64)
    y = logged.astype(np.float64)
    intercept, slopes = fit_logistic(x, y, np.full(y.size, 1.0 / y.size), ridge=_RIDGE)
    # p(log) / p(all) of a question with these signals, all being log and others together.
    odds = 1.0 / (1.0 + np.exp(-np.clip(intercept + x @ slopes, -30.0, 30.0)))
    ratio = np.clip(odds / y.mean(), 1.0 / _CLIP, _CLIP)
    weights = np.ones(len(rows))
    of_query = {rows[i].query_id: float(w) for i, w in zip(asked, ratio, strict=True)}
    for i, row in enumerate(rows):
        weights[i] = of_query.get(row.query_id, 1.0)
    effective = float(ratio.sum() ** 2 / (ratio**2).sum())
    return weights, [
        f"{int(logged.sum())} questions are of the log and {int((~logged).sum())} are not; weighed "
        f"to look like the log, the {len(asked)} count as {effective:.0f}. The weights are "
        "estimated, and what is claimed is as good as they are"
    ]
