"""Folds for cross-fitting: whole document groups, so that nothing is judged by its own document."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rankgate.errors import InputError

# Above this share of all queries in one document group, whole groups leave too little to fit on.
_LARGEST_GROUP = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What one fit sees, and what it is then judged on.

    Attributes:
        train: query ids to fit on, sorted.
        held_out: query ids that the fit has not seen, sorted.
        unit: `group`: no document group stands on both sides. `query`: one group holds more
            than half of the queries (or all of them), so single queries were drawn, and what is
            measured on `held_out` flatters the fit a little.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    unit: Literal["group", "query"]


def group_folds(
    query_ids: Sequence[str], groups: Mapping[str, str], *, folds: int = 5, seed: int = 0
) -> tuple[Fold, ...]:
    """Split queries into folds of nearly equal size, document groups kept whole.

    Every query is held out exactly once. The larger groups are dealt first, each to the
    smallest fold; equal ones in an order that depends on the seed and on the ids alone, so the
    order of `query_ids` does not matter. With fewer groups than folds there are as many folds
    as groups.

    Args:
        groups: query id to document group; a query that is absent is a group of its own.
        folds: wanted, at least 2.
        seed: equal seeds give equal folds.

    Raises:
        InputError: fewer than 2 folds or 2 queries, or a query named twice.
    """
    if folds < 2:
        raise InputError(f"cross-fitting needs at least 2 folds, got {folds}")
    if len(set(query_ids)) != len(query_ids):
        raise InputError("a query is named twice: it would stand on both sides of a fold")
    if len(query_ids) < 2:
        raise InputError(f"cross-fitting needs at least 2 queries, got {len(query_ids)}")
    unit: Literal["group", "query"] = "group"
    members: dict[str, list[str]] = {}
    for query in sorted(query_ids):
        # Its name must not collide with a group's.
        members.setdefault(f"g {groups[query]}" if query in groups else f"q {query}", []).append(
            query
        )
    if max(map(len, members.values())) > _LARGEST_GROUP * len(query_ids):
        unit = "query"
        members = {query: [query] for query in query_ids}
    # A group is known by its first member: its own name may depend on the file's order.
    blocks = sorted(members.values(), key=lambda block: (-len(block), _draw(seed, block[0])))
    parts: list[list[str]] = [[] for _ in range(min(folds, len(blocks)))]
    for block in blocks:
        min(parts, key=len).extend(block)
    return tuple(
        Fold(
            train=tuple(sorted(q for other in parts if other is not part for q in other)),
            held_out=tuple(sorted(part)),
            unit=unit,
        )
        for part in parts
    )


def _draw(seed: int, query: str) -> str:
    return hashlib.sha256(f"{seed}\0{query}".encode()).hexdigest()


def spread(query_ids: Sequence[str], at_most: int) -> list[str]:
    """At most so many queries, the same ones whatever their order, in the order given."""
    if len(query_ids) <= at_most:
        return list(query_ids)
    kept = set(sorted(query_ids, key=lambda q: _draw(0, q))[:at_most])
    return [q for q in query_ids if q in kept]
