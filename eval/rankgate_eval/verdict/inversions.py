"""Inversions and lifts: which relevant passages left the top, which came into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rankgate.errors import InputError
from rankgate_eval.run.metrics import judged_queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where a relevant passage stood, and where it stands now.

    Attributes:
        before, after: 1-based ranks; None where the list lacks it (not found, or dropped).
    """

    query_id: str
    passage_id: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Movements:
    """The relevant passages that at least one of the two lists holds.

    Attributes:
        moves: in query order, then by rank before, those that were absent last.
        queries: judged queries that were looked at.
    """

    moves: tuple[Move, ...]
    top_n: int
    queries: int

    @property
    def inversions(self) -> tuple[Move, ...]:
        """Inside the top before, outside it after: the harm that a mean hides."""
        return tuple(m for m in self.moves if self._inside(m.before) and not self._inside(m.after))

    @property
    def lifts(self) -> tuple[Move, ...]:
        """Outside the top before, inside it after."""
        return tuple(m for m in self.moves if self._inside(m.after) and not self._inside(m.before))

    @property
    def queries_inverted(self) -> tuple[str, ...]:
        """Ids of queries with an inversion, each once, in order."""
        return tuple(dict.fromkeys(m.query_id for m in self.inversions))

    @property
    def queries_lifted(self) -> tuple[str, ...]:
        """Ids of queries with a lift, each once, in order."""
        return tuple(dict.fromkeys(m.query_id for m in self.lifts))

    def _inside(self, rank: int | None) -> bool:
        return rank is not None and rank <= self.top_n


def find_movements(
    qrels: Mapping[str, Mapping[str, int]],
    before: Mapping[str, Sequence[str]],
    after: Mapping[str, Sequence[str]],
    query_ids: Sequence[str],
    *,
    top_n: int,
) -> Movements:
    """Follow every relevant passage from one list to the other.

    Args:
        qrels: query id to passage id to grade; above 0 is relevant.
        before: query id to passage ids, best first; a passage that stands twice counts at its
            best rank, an absent query has an empty list (as a refused one does).
        after: likewise.
        query_ids: which queries, in which order; unjudged ones are left out.

    Raises:
        InputError: `top_n` is below 1, or a query is named twice.
    """
    if top_n < 1:
        raise InputError(f"top_n must be at least 1, got {top_n}")
    judged, _ = judged_queries(qrels, query_ids)
    moves: list[Move] = []
    for query in judged:
        old, new = _ranks(before.get(query, ())), _ranks(after.get(query, ()))
        relevant = {p for p, grade in qrels[query].items() if grade > 0}
        # Both lists in turn, so that the order does not hang on a set's.
        for passage in dict.fromkeys([*old, *new]):
            if passage in relevant:
                moves.append(
                    Move(
                        query_id=query,
                        passage_id=passage,
                        before=old.get(passage),
                        after=new.get(passage),
                    )
                )
    return Movements(moves=tuple(moves), top_n=top_n, queries=len(judged))


def _ranks(ranking: Sequence[str]) -> dict[str, int]:
    return {p: rank for rank, p in enumerate(dict.fromkeys(ranking), start=1)}
