"""How deep the lists are read before they are fused, and how many candidates are kept after.

One rule for the application, the adapters, calibration and evaluation: a policy that was fitted
on other candidates than those that it later decides on has other skip shares than it promises.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import islice
from typing import TypeVar

from rankgate.errors import InputError

__all__ = ["DEFAULT_K", "LIST_DEPTH", "fuse_in_pages", "list_depth", "top_entries"]

Id = TypeVar("Id", bound=Hashable)

DEFAULT_K = 50
"""Candidates that are kept after fusion, for the second stage to read, unless a policy says K."""

LIST_DEPTH = 50
"""Entries that are read of each list before fusion, for each page of as many candidates."""


def list_depth(k: int) -> int:
    """Entries to read of each list for k fused candidates: whole pages of `LIST_DEPTH`.

    Raises:
        InputError: k below 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    return -(-k // LIST_DEPTH) * LIST_DEPTH


def top_entries(entries: Mapping[Id, float], depth: int) -> dict[Id, float]:
    """The first `depth` entries of a list that stands best first."""
    return dict(islice(entries.items(), depth))


def fuse_in_pages(
    fused_at: Callable[[int], Iterable[tuple[Id, float]]], k: int
) -> list[tuple[Id, float]]:
    """The k first of a fusion, such that asking for more never changes those that come first.

    Fusing deeper lists moves what stands at the top: a passage at rank 80 of the second list
    gains a term that it does not have where lists end at 50. So candidates 1 to 50 are those of
    lists 50 deep, 51 to 100 the best further ones of lists 100 deep, and so on. For K = 50 that
    is the fusion of two lists of 50, nothing else.

    Args:
        fused_at: ids with their fused scores, best first, of lists cut at this depth.

    Returns:
        Each id once, with the score of the page that it came by, so scores fall within a page.

    Raises:
        InputError: k below 1.
    """
    chosen: dict[Id, float] = {}
    for depth in range(LIST_DEPTH, list_depth(k) + 1, LIST_DEPTH):
        for identifier, score in fused_at(depth):
            if len(chosen) >= depth:
                break
            chosen.setdefault(identifier, score)
    return list(top_entries(chosen, k).items())
