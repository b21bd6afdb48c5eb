"""Whether the policy's probabilities come true, on the mixture of questions that they are for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rankgate.live.promise import promise_of
from rankgate.live.reliability import mixture_weights, reliability_at_top
from rankgate_eval.result.parts import ExpectedResult, ReliabilityBin, ReliabilityResult
from rankgate_eval.result.rows import UnanswerableRow
from rankgate_eval.run.experiment import Experiment


def reliability_of(
    e: Experiment, unanswerable: Sequence[UnanswerableRow], *, top: int
) -> ReliabilityResult | None:
    """Reliability of the first `top` passages of each question; None without a probability.

    Answerable and unanswerable questions weigh as in the mixture asked for, else as in that which
    the policy was fitted for, else as they come. Where the data have no unanswerable question,
    answerable ones are all there is, and the skill, which would judge them by a mixture that they
    are not, is left out, unless it is of them that the probabilities are.

    Args:
        unanswerable: questions that nothing answers.
    """
    probabilities: list[list[float]] = []
    truth: list[list[bool]] = []
    kinds: list[bool] = []
    for query_id in (*e.judged, *(row.query_id for row in unanswerable)):
        relevant = set(e.data.relevant(query_id))
        # Unread passages behind the read ones have no probability, and no floor reads them.
        known = [
            (p.relevance_score, p.candidate.id in relevant)
            for p in itertools.islice(e.arms.decided[query_id].passages, top)
            if p.relevance_score is not None
        ]
        if known:
            probabilities.append([p for p, _ in known])
            truth.append([t for _, t in known])
            kinds.append(not relevant)
    if not probabilities:
        return None
    asked, promise = e.settings.prior, promise_of(e.arms.policy, e.arms.kind)
    claimed = None if promise is None else promise.unanswerable
    share = claimed if asked is None else asked
    if not any(kinds) or all(kinds):
        share = None
    weights = None if share is None else mixture_weights(kinds, share).tolist()
    found = reliability_at_top(probabilities, truth, top=top, weights=weights)
    measured = sum(kinds) / len(kinds) if share is None else share
    alone = promise if measured == 0.0 and claimed else None
    return ReliabilityResult(
        top=top,
        queries=len(probabilities),
        n=found.n,
        base_rate=found.base_rate,
        predicted=found.predicted,
        brier=found.brier,
        brier_skill=found.brier_skill if measured > 0.0 or 0.0 in (asked, claimed) else None,
        unanswerable=measured,
        claimed=claimed,
        expected=None
        if alone is None or alone.answerable is None or top > 1
        else ExpectedResult(
            n=alone.answerable.n,
            predicted=alone.answerable.predicted,
            observed=alone.answerable.observed,
        ),
        bins=tuple(
            ReliabilityBin(
                low=b.low,
                high=b.high,
                n=b.n,
                predicted=b.predicted,
                observed=b.observed,
                ci=(b.observed_low, b.observed_high),
            )
            for b in found.bins
        ),
    )
