"""A first stage of the caller's own, plain or async, behind one pair of methods."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from rankgate.errors import InputError
from rankgate.types import Candidate

__all__ = ["CandidateSupplier"]


class CandidateSupplier:
    """Something of the caller's that gives candidates itself, with every score it has.

    Args:
        first_stage: an object with `candidates(query, k)` and perhaps the coroutine function
            `acandidates`, or a callable, plain or async, of the same signature.

    Raises:
        InputError: neither.
    """

    def __init__(self, first_stage: Any) -> None:
        self.first_stage = first_stage
        candidates = getattr(first_stage, "candidates", None)
        acandidates = getattr(first_stage, "acandidates", None)
        if candidates is None and acandidates is None:
            if not callable(first_stage):
                raise InputError(
                    "a first stage must be callable as f(query, k), or have candidates(query, k); "
                    f"got {type(first_stage).__name__}"
                )
            if inspect.iscoroutinefunction(first_stage):
                acandidates = first_stage
            else:
                candidates = first_stage
        self._candidates: Callable[..., Any] | None = candidates
        self._acandidates: Callable[..., Any] | None = acandidates

    def takes(self, *, awaited: bool) -> tuple[str, ...] | None:
        """Names of the further arguments that a call would hand on; None: it takes any.

        Args:
            awaited: of `acandidates` rather than `candidates`, where there are both.
        """
        function = self._acandidates if awaited and self._acandidates else self._candidates
        if function is None:
            return None
        takes = inspect.signature(function).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values()):
            return None
        return tuple(name for name in takes if name not in ("query", "k"))

    def candidates(self, query: str, k: int, **further: Any) -> list[Candidate]:
        """What the caller's `candidates` returns.

        Raises:
            InputError: it is async only, or returns something else than candidates.
        """
        if self._candidates is None:
            raise InputError(
                "this first stage is async only: use the async methods, or give it candidates()"
            )
        return _checked(self._candidates(query, k, **further))

    async def acandidates(self, query: str, k: int, **further: Any) -> list[Candidate]:
        """The caller's `acandidates`, otherwise `candidates` in a worker thread."""
        if self._acandidates is not None:
            return _checked(await self._acandidates(query, k, **further))
        return await asyncio.to_thread(self.candidates, query, k, **further)


def _checked(rows: Any) -> list[Candidate]:
    candidates = list(rows)
    for i, candidate in enumerate(candidates):
        if not isinstance(candidate, Candidate):
            raise InputError(
                f"candidate {i} must be a rankgate.Candidate, got {type(candidate).__name__}"
            )
    return candidates
