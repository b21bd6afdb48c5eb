"""Refusals, judged by their own rule: right where nothing answers, wrong where something does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rankgate.decide.section import Section
from rankgate.outcome import Outcome
from rankgate.types import Path
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.result.parts import Change, Rate, Refusals
from rankgate_eval.result.rows import UnanswerableRow
from rankgate_eval.run.pool import Pooled
from rankgate_eval.verdict.sections import rate


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
    unanswerable: Sequence[UnanswerableRow],
    *,
    section: Section,
    cost: Mapping[str, Change],
) -> Refusals:
    """Count wrong refusals and wrong answers.

    Args:
        judged: queries in the averages, all of them answerable.
        unanswerable: from `unanswerable_rows`.
        cost: primary metric to what the floor changes of it.
    """
    relevant = {q: set(data.relevant(q)) for q in judged}
    found = [q for q in judged if any(c.id in relevant[q] for c in pool[q].candidates)]
    refused = {q for q in judged if outcomes[q].refused}
    answered = sum(any(p.candidate.id in relevant[q] for p in outcomes[q].kept) for q in judged)

    def among(queries: Sequence[str]) -> Rate:
        return rate(sum(q in refused for q in queries), len(queries))

    strata = {"all": list(unanswerable)} if unanswerable else {}
    for row in unanswerable:
        strata.setdefault(row.stratum, []).append(row)
    return Refusals(
        refuse_below=section.refuses_by.refuse_below,
        drop_below=section.floor.drop_below,
        answerable=among(judged),
        retrieved=among(found),
        by_path={
            path.value: among([q for q in judged if outcomes[q].path is path]) for path in Path
        },
        unanswerable={
            name: rate(sum(not row.refused for row in rows), len(rows))
            for name, rows in strata.items()
        },
        cost=cost,
        answered=rate(answered, len(judged)),
        wrongly_refused=tuple(q for q in found if q in refused),
    )


def floor_sentence(refusals: Refusals, *, top_n: int) -> str:
    """What the floor gives and takes; "" without a floor."""
    if refusals.refuse_below is None and refusals.drop_below is None:
        return ""
    wrong, every = refusals.answerable, refusals.unanswerable.get("all")
    taken = refusals.cost[f"recall@{top_n}"]
    kept = (
        "there are no unanswerable questions to see what it is good for"
        if every is None
        else f"it answers {every.count} of {every.n} unanswerable ones"
    )
    return (
        f"The floor refuses {wrong.count} of {wrong.n} answerable questions and changes "
        f"recall@{top_n} by {taken.mean:+.3f}; {kept}."
    )
