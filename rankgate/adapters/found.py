"""Found: what a first stage hands over, with the framework's own objects beside the candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rankgate.types import Candidate

__all__ = ["Found"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[Item]):
    """What a first stage found for one query.

    Attributes:
        candidates: best first.
        items: the documents or nodes that they were made from, in the same order; None: there
            are none.
        extras: further metadata keys for each, in the same order; None: there are none.
        depth: how many the first stage was asked for, or gave, where that is not the policy's
            number; None: it is, or nobody can say.
        session: the conversation that the query belongs to, where something says it.
        notes: what the reader of the outcome should know.
    """

    candidates: list[Candidate]
    items: Sequence[Item] | None = None
    extras: Sequence[Mapping[str, Any]] | None = None
    depth: int | None = None
    session: str | None = None
    notes: tuple[str, ...] = ()
