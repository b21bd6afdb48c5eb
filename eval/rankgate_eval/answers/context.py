"""What an arm hands over to the generator for one question."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Handed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """The passages of one arm for one question, best first.

    Attributes:
        ids: of the passages; with a system that names none, hashes of their texts.
        texts: of the same passages.
        refused: whether the arm refuses the question before any generator is asked.
        path: `first_stage`, `reranked`, `skipped` or `degraded`; `system` for a whole system.
        reason: why it was refused, or why retrieval failed; empty otherwise.
        failed: whether there is nothing to judge because retrieval failed.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    refused: bool = False
    path: str = "first_stage"
    reason: str = ""
    failed: bool = False

    @property
    def same_as(self) -> tuple[bool, bool, tuple[str, ...]]:
        """Equal for arms that a generator cannot tell apart: texts and their order, no more."""
        return self.refused, self.failed, self.texts

    @classmethod
    def of(cls, passages: Iterable[tuple[str, str]], *, path: str = "first_stage") -> Handed:
        """From (id, text) pairs."""
        rows = list(passages)
        return cls(ids=tuple(r[0] for r in rows), texts=tuple(r[1] for r in rows), path=path)
