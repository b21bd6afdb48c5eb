"""Refusals, judged by their own rule: right where nothing answers, wrong where something does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rankgate.outcome import Outcome
from rankgate.types import Path
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.result.parts import Rate, Refusals, UnanswerableRow
from rankgate_eval.run.pool import Pooled
from rankgate_eval.verdict.sections import estimate, rate

__all__ = ["count_refusals", "unanswerable_rows"]


def unanswerable_rows(
    data: Dataset,
    query_ids: Sequence[str],
    outcomes: Mapping[str, Outcome],
    *,
    fields: Sequence[str] = (),
) -> tuple[UnanswerableRow, ...]:
    """Every query that the floor should refuse, with what became of it.

    Its stratum is the data set's, and behind it the first of `fields` that it has.
    """
    rows = []
    for query_id in query_ids:
        known, stratum = data.fields.get(query_id, {}), data.stratum_of(query_id)
        named = next((str(known[f]) for f in fields if known.get(f) is not None), stratum)
        outcome = outcomes[query_id]
        rows.append(
            UnanswerableRow(
                query_id=query_id,
                query=data.queries[query_id],
                stratum=stratum if named == stratum else f"{stratum}:{named}",
                path=outcome.path.value,
                refused=not outcome.kept,
                best=outcome.best_probability,
            )
        )
    return tuple(rows)


def count_refusals(
    data: Dataset,
    pool: Mapping[str, Pooled],
    outcomes: Mapping[str, Outcome],
    judged: Sequence[str],
    clusters: Sequence[str],
    unanswerable: Sequence[UnanswerableRow],
    *,
    refuse_below: float | None,
    drop_below: float | None,
    resamples: int,
    seed: int,
) -> Refusals:
    """Count wrong refusals and wrong answers.

    Args:
        data: judgements.
        pool: the candidates.
        outcomes: of the policy.
        judged: queries in the averages; those with a relevant passage are answerable.
        clusters: document group of each.
        unanswerable: from `unanswerable_rows`.
        refuse_below: the floor's.
        drop_below: the floor's.
        resamples: of the interval.
        seed: of the interval.
    """
    # `--unjudged irrelevant` keeps queries in the averages of which nobody knows an answer.
    known = [(q, c) for q, c in zip(judged, clusters, strict=True) if data.relevant(q)]
    judged, clusters = [q for q, _ in known], [c for _, c in known]
    relevant = {q: set(data.relevant(q)) for q in judged}
    found = [q for q in judged if any(c.id in relevant[q] for c in pool[q].candidates)]
    refused = {q for q in judged if outcomes[q].refused}
    kept = np.array(
        [
            len(relevant[q].intersection(p.candidate.id for p in outcomes[q].kept))
            / len(relevant[q])
            for q in judged
        ],
        dtype=np.float64,
    )

    def among(queries: Sequence[str]) -> Rate:
        return rate(sum(q in refused for q in queries), len(queries))

    strata = {"all": list(unanswerable)} if unanswerable else {}
    for row in unanswerable:
        strata.setdefault(row.stratum, []).append(row)
    return Refusals(
        refuse_below=refuse_below,
        drop_below=drop_below,
        answerable=among(judged),
        retrieved=among(found),
        by_path={
            path.value: among([q for q in judged if outcomes[q].path is path]) for path in Path
        },
        unanswerable={
            name: rate(sum(not row.refused for row in rows), len(rows))
            for name, rows in strata.items()
        },
        kept_recall=estimate(kept, clusters, resamples=resamples, seed=seed),
        answered=rate(int((kept > 0.0).sum()), len(judged)),
        wrongly_refused=tuple(q for q in found if q in refused),
    )
