"""Whether probabilities came true for people: reliability over the feedback log's thumbs.

Only thumbs can go either way. An opened source always speaks for a passage, and a question asked
again against it, so a rate of those would say how often people do one or the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from rankgate.bounds import clopper_pearson
from rankgate.feedback import FeedbackLog, Judgement
from rankgate.live.promise import Promise
from rankgate.live.reliability import Reliability, measure_reliability

LEAST_RATED = 20
"""Rated answers below which nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Probabilities of the best cited passage of each rated question, and what people said.

    Attributes:
        found: the same measure as in an evaluation's report; None below `LEAST_RATED`.
        low, high: exact 95% interval of the share that people found relevant.
        unhelped: share of the rated questions of which no cited passage was found relevant: the
            mixture of this log, and at most the share that is unanswerable.
        claimed: share of unanswerable questions that the policy's probabilities are for; None
            where it does not say.
    """

    found: Reliability | None
    n: int
    low: float
    high: float
    unhelped: float
    claimed: float | None


def trust_of(
    log: FeedbackLog, *, policy: str, collection: str, promise: Promise | None = None
) -> Trust:
    """What the log says of a policy's probabilities.

    Args:
        policy: name of the policy in force when the answer was shown.
    """
    latest = {
        (j.query, j.passage_id): j
        for j in sorted(log.judgements, key=lambda j: j.time)
        if j.source == "thumb"
        and j.relevance_score is not None
        and (j.policy, j.collection) == (policy, collection)
    }
    best: dict[str, Judgement] = {}
    for j in latest.values():
        if j.query not in best or _score(j) > _score(best[j.query]):
            best[j.query] = j
    rated = list(best.values())
    truth = [j.relevant for j in rated]
    low, high = clopper_pearson(sum(truth), len(rated))
    enough = len(rated) >= LEAST_RATED
    return Trust(
        found=measure_reliability([_score(j) for j in rated], truth) if enough else None,
        n=len(rated),
        low=low,
        high=high,
        unhelped=truth.count(False) / len(rated) if rated else 0.0,
        claimed=None if promise is None else promise.unanswerable,
    )


def _score(judgement: Judgement) -> float:
    return -1.0 if judgement.relevance_score is None else judgement.relevance_score
