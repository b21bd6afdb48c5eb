"""Chances to speak for questions that are not quite those that will be asked.

Where a log stands beside other questions, the log is what will be asked. It speaks as it is; each
other question speaks with a chance in proportion to how much more likely the log holds one of such
signals: the odds of a logistic that tells the two apart (density ratio by classification, Bickel et
al., JMLR 10, 2009). Those who are let speak are then a sample of the log's kind (rejection, von
Neumann 1951), counted whole, so a bound over them needs no weights and stays exact as far as the
odds are right; and never fewer speak than the log alone has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankgate_eval.calibrate.gate_fit import gate_signals
from rankgate_eval.calibrate.rows import Row
from rankgate_eval.stats.fits import fit_logistic

FloatArray = npt.NDArray[np.float64]

LOG = "log"
_LEAST = 59  # conversations of the log, below which nothing could be claimed of it alone
_MOST = 10.0  # times the mean odds, that count; beyond it one question would silence all others
_RIDGE = 1e-2


def chances(rows: Sequence[Row], sources: Mapping[str, str]) -> tuple[FloatArray | None, list[str]]:
    """(rows,) chances to speak, and what a reader should know; None where all speak.

    A question with its passages removed speaks as the question does, a foreign one always.
    """
    asked = [row for row in rows if row.answerable]
    logged = np.array([sources[row.query_id] == LOG for row in asked], dtype=np.bool_)
    if logged.all() or not logged.any():
        return None, []
    conversations = len({row.group for row, log in zip(asked, logged, strict=True) if log})
    if conversations < _LEAST:
        return None, [
            f"the log has {conversations} conversations, and {_LEAST} are needed to tell what it "
            "looks like: all questions count alike, and what is claimed is of questions like all "
            "of them together"
        ]
    signals = [row.signals for row in asked]
    names = gate_signals(signals, lexicon=False)
    columns = [[s.values()[name] for name in names] for s in signals]
    found = chances_like(
        np.array([[0.0 if v is None else v for v in row] for row in columns], dtype=np.float64),
        logged,
        [row.group for row in asked],
    )
    of_query = {row.query_id: float(c) for row, c in zip(asked, found, strict=True)}
    return np.array([of_query.get(row.query_id, 1.0) for row in rows]), [
        f"{int(logged.sum())} questions are of the log, which is taken for what will be asked, and "
        f"{int((~logged).sum())} are not: each of these speaks for what is claimed with a chance "
        f"that follows how much it looks like the log, {found[~logged].mean():.0%} on the mean. "
        "The chances are estimated, and what is claimed is as good as they are"
    ]


def chances_like(
    x: FloatArray, logged: npt.NDArray[np.bool_], groups: Sequence[object]
) -> FloatArray:
    """(n,) chance of each question to speak: 1 for the log's.

    Args:
        x: (n, features) that may tell the log from the others.
        logged: (n,) which questions are the log's, not all and not none.
        groups: (n,) conversations; each counts once, however many questions it has.
    """
    sizes = Counter(groups)
    shares = np.array([1.0 / sizes[g] for g in groups])
    # Both sides alike in weight: then the odds are the ratio of the densities.
    shares[logged] *= 0.5 / shares[logged].sum()
    shares[~logged] *= 0.5 / shares[~logged].sum()
    intercept, slopes = fit_logistic(x, logged.astype(np.float64), shares, ridge=_RIDGE)
    odds = np.exp(np.clip(intercept + x @ slopes, -30.0, 30.0))
    others = odds[~logged]
    highest = min(float(others.max()), _MOST * float(np.average(others, weights=shares[~logged])))
    return np.where(logged, 1.0, np.minimum(1.0, odds / highest))
