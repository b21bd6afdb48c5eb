"""Lists for people: what every query gets, which passages moved, where the policy does worst."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from rankgate.outcome import Outcome
from rankgate.types import Candidate
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.result.rows import Listed, Moved, MovedList, QueryLists, WorstQuery
from rankgate_eval.run.orderings import Arms
from rankgate_eval.run.pool import Pooled
from rankgate_eval.verdict.inversions import Move, find_movements

_SNIPPET = 200
_LISTED = 10
_SNIPPETS = 4000


def snippet(text: str, length: int = _SNIPPET) -> str:
    """The beginning of a text on one line, cut at a word."""
    line = " ".join(text[: 8 * length].split())
    if len(line) <= length:
        return line
    return line[: length + 1].rsplit(" ", 1)[0][:length] + " ..."


def query_lists(pooled: Pooled, outcome: Outcome, relevant: Collection[str]) -> QueryLists:
    """What the first stage found for a query, and what the policy makes of it."""
    first = tuple(c.id for c in pooled.candidates[:_LISTED])
    policy = tuple(p.candidate.id for p in outcome.passages[:_LISTED])
    ids = {c.id for c in pooled.candidates}
    return QueryLists(
        first_stage=first,
        policy=policy,
        kept=len(outcome.kept),
        relevant=tuple(i for i in dict.fromkeys((*first, *policy)) if i in relevant),
        relevant_total=len(relevant),
        not_found=sum(i not in ids for i in relevant),
    )


def listed_snippets(
    data: Dataset, lists: Iterable[QueryLists], *, most: int = _SNIPPETS
) -> dict[str, str]:
    """Beginnings of the passages that stand in these lists, the first `most` of them."""
    ids = (i for found in lists for i in (*found.policy, *found.first_stage))
    known = dict.fromkeys(i for i in ids if i in data.corpus)
    return {i: snippet(data.corpus[i]) for i in itertools.islice(known, most)}


def moved_lists(
    data: Dataset,
    arms: Arms,
    query_ids: Sequence[str],
    *,
    before: str,
    after: str,
    top_n: int,
) -> tuple[MovedList, MovedList]:
    """Inversions and lifts from one arm to another."""
    found = find_movements(
        data.qrels, arms.orders[before], arms.orders[after], query_ids, top_n=top_n
    )

    def listed(moves: Sequence[Move], queries: Sequence[str]) -> MovedList:
        return MovedList(
            before=before,
            after=after,
            top_n=top_n,
            passages=len(moves),
            queries=len(queries),
            items=tuple(
                Moved(
                    query_id=m.query_id,
                    query=snippet(data.queries[m.query_id]),
                    passage_id=m.passage_id,
                    before=m.before,
                    after=m.after,
                    snippet=snippet(data.corpus.get(m.passage_id, "")),
                )
                for m in moves
            ),
        )

    return (
        listed(found.inversions, found.queries_inverted),
        listed(found.lifts, found.queries_lifted),
    )


def worst_queries(
    data: Dataset,
    pool: Mapping[str, Pooled],
    arms: Arms,
    query_ids: Sequence[str],
    first_stage: Sequence[float],
    policy: Sequence[float],
    *,
    count: int = 20,
) -> tuple[WorstQuery, ...]:
    """Those that lost most nDCG@10 against the first stage, then those with the lowest.

    Args:
        first_stage: nDCG@10 of each.
        policy: nDCG@10 of each.
        count: at most so many; a query that is perfect is not among them.
    """
    rows = [
        (min(0.0, after - before), after, position)
        for position, (before, after) in enumerate(zip(first_stage, policy, strict=True))
        if after < 1.0
    ]
    return tuple(
        _worst(data, pool[query_ids[i]], arms, first_stage[i], policy[i])
        for _, _, i in sorted(rows)[:count]
    )


def _worst(data: Dataset, pooled: Pooled, arms: Arms, before: float, after: float) -> WorstQuery:
    query_id = pooled.query_id
    relevant = set(data.relevant(query_id))
    outcome = arms.decided[query_id]
    lists = query_lists(pooled, outcome, relevant)
    return WorstQuery(
        query_id=query_id,
        query=snippet(pooled.query, 500),
        first_stage_ndcg=float(before),
        policy_ndcg=float(after),
        change=float(after) - float(before),
        path=outcome.path.value,
        reason=outcome.path_reason,
        refused=outcome.refused,
        relevant_total=lists.relevant_total,
        not_found=lists.not_found,
        first_stage=tuple(
            _listed(c, rank, relevant, *_first_stage_score(c))
            for rank, c in enumerate(pooled.candidates[:_LISTED], start=1)
        ),
        policy=tuple(_after(outcome, relevant)),
    )


def _after(outcome: Outcome, relevant: set[str]) -> list[Listed]:
    return [
        _listed(
            p.candidate,
            p.rank,
            relevant,
            p.relevance_score,
            "" if p.relevance_score is None else "relevance",
        )
        for p in outcome.passages[:_LISTED]
    ]


def _listed(
    candidate: Candidate, rank: int, relevant: set[str], score: float | None, kind: str
) -> Listed:
    return Listed(
        passage_id=candidate.id,
        rank=rank,
        relevant=candidate.id in relevant,
        snippet=snippet(candidate.text),
        score=score,
        score_kind=kind,
    )


def _first_stage_score(candidate: Candidate) -> tuple[float | None, str]:
    for kind, score in (
        ("fused", candidate.fused),
        ("dense", candidate.dense),
        ("bm25", candidate.bm25),
    ):
        if score is not None:
            return float(score), kind
    return None, ""
