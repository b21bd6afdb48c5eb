"""One query as the fits see it: features of its candidates on either path, and the truth."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.decide.rank import CandidateList
from rankgate.decide.signals import Signals
from rankgate.scorers.protocol import Scores
from rankgate.types import Candidate
from rankgate_eval.negatives.unanswerable import NEAR_MISS, REMOVED
from rankgate_eval.run.pool import Pooled
from rankgate_eval.stats.ndcg import ndcg

FloatArray = npt.NDArray[np.float64]

ANSWERABLE = "answerable"
"""The stratum of queries that have a relevant passage in the corpus."""

_MADE = (REMOVED, NEAR_MISS, "foreign")
_MOST_TIMES = 5.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """Candidates of one query with what one relevance model may read of them.

    Attributes:
        columns: feature name to (n,) values; `raw` features only where the scorer has read.
        relevant: (n,) truth.
        index: (n,) position of each among all candidates of the query.
    """

    columns: Mapping[str, FloatArray]
    relevant: npt.NDArray[np.bool_]
    index: npt.NDArray[np.intp]

    def matrix(self, names: Sequence[str]) -> FloatArray:
        """(n, features), possibly of no features."""
        columns = [self.columns[name] for name in names]
        return np.stack(columns, axis=1) if columns else np.empty((self.relevant.size, 0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One query, with its candidates in first-stage order.

    Attributes:
        query_id: of the data set; for a foreign question, its own.
        stratum: `answerable`, or the kind of unanswerable.
        group: document group, the unit of cross-fitting and of the bootstrap.
        corpus: corpora weigh the same in a fit; "" where there is one.
        listed: the candidates as `rankgate.decide.rank` orders them, with the scores that the
            scorer gave; without scores where it failed, so that the first stage serves the query.
        relevant: (n,) truth; all False for an unanswerable query.
        gold: relevant passages in the corpus, found or not.
        query, candidates: the words, and what was found.
    """

    query_id: str
    stratum: str
    group: str
    corpus: str
    signals: Signals
    listed: CandidateList
    relevant: npt.NDArray[np.bool_]
    gold: int
    query: str = ""
    candidates: tuple[Candidate, ...] = ()

    @property
    def answerable(self) -> bool:
        """Whether the corpus holds a relevant passage."""
        return self.stratum == ANSWERABLE

    @property
    def found(self) -> bool:
        """Whether a relevant passage is among the candidates."""
        return bool(self.relevant.any())

    @property
    def first_stage(self) -> Seen:
        """All candidates, as the model of skipped and degraded results reads them."""
        everything = np.arange(self.relevant.size, dtype=np.intp)
        return Seen(columns=self.listed.columns, relevant=self.relevant, index=everything)

    @property
    def reranked(self) -> Seen | None:
        """The candidates that the scorer read; None where it failed."""
        if self.listed.scores is None:
            return None
        read = self.listed.read
        return Seen(columns=self.listed.read_columns, relevant=self.relevant[read], index=read)

    def seen(self, *, scored: bool) -> Seen | None:
        """What the model of the reranked path reads, or that of the first stage's."""
        return self.reranked if scored else self.first_stage


def row_of(
    candidates: Sequence[Candidate],
    signals: Signals,
    scores: Scores | None,
    *,
    gold: Collection[str],
    query_id: str = "",
    query: str = "",
    stratum: str = ANSWERABLE,
    group: str = "",
    corpus: str = "",
) -> Row:
    """Build a row.

    Args:
        candidates: in first-stage order.
        scores: of all of them; None where the scorer failed. Where some were not read and the
            scorer gives no order for them, it counts as failed: the engine would call that
            degraded.
        gold: ids of the relevant passages; not looked at outside the stratum `answerable`.
        stratum: see `Row`.
        group: see `Row`.
        corpus: see `Row`.
    """
    usable = scores is not None and (scores.complete or scores.order is not None)
    return Row(
        query_id=query_id,
        stratum=stratum,
        group=group,
        corpus=corpus,
        signals=signals,
        listed=CandidateList.of(
            candidates, scores if usable else None, k=max(1, len(candidates)), signals=signals
        ),
        relevant=np.array(
            [stratum == ANSWERABLE and c.id in gold for c in candidates], dtype=np.bool_
        ),
        gold=len(set(gold)) if stratum == ANSWERABLE else 0,
        query=query,
        candidates=tuple(candidates),
    )


def pooled_row(
    pooled: Pooled, *, gold: Collection[str], group: str, stratum: str = ANSWERABLE
) -> Row:
    """The row of a query that was read."""
    return row_of(
        pooled.candidates,
        pooled.signals,
        None if pooled.scorer_error is not None else pooled.scores,
        gold=gold,
        query_id=pooled.query_id,
        query=pooled.query,
        stratum=stratum,
        group=group,
    )


def evidence(rows: Sequence[Row]) -> FloatArray:
    """(n,) weights of queries in the fit of probabilities, 1 on average in each corpus.

    Unanswerable questions that people gave weigh as much together as those that were made of the
    data set's own, where they are fewer, and each at most five times as much as one of those: they
    are what will be asked. What answerable and unanswerable ones weigh against each other stays.
    """
    weights = np.ones(len(rows))
    for corpus in {row.corpus for row in rows}:
        of_it = np.array([row.corpus == corpus and not row.answerable for row in rows])
        made = np.array([row.stratum.split(":")[0] in _MADE for row in rows]) & of_it
        given = of_it & ~made
        if made.any() and given.any():
            times = float(np.clip(made.sum() / given.sum(), 1.0, _MOST_TIMES))
            unit = of_it.sum() / (made.sum() + times * given.sum())
            weights[made], weights[given] = unit, times * unit
    return weights


def ndcg10(order: npt.NDArray[np.intp], row: Row) -> float:
    """Binary nDCG@10 of an order of the candidates; the ideal counts passages not found too."""
    return ndcg(row.relevant[order], row.gold)
