"""Several retrievers behind one: their lists merged by reciprocal ranks, failures survived."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rankgate.errors import InputError, warn_unheard
from rankgate.retrieve.depth import fuse_in_pages
from rankgate.retrieve.fusion import reciprocal_rank_fusion

__all__ = ["Merged", "RetrieverFusion", "separate_failures"]

logger = logging.getLogger("rankgate")

Retriever = TypeVar("Retriever")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The merged list, and where each passage of it stood.

    Attributes:
        ids: best first.
        scores: of the fusion, one each.
        found_by: name of each retriever that found the passage to its rank there, one each.
        failures: name of each retriever that failed to the reason.
    """

    ids: tuple[Hashable, ...]
    scores: tuple[float, ...]
    found_by: tuple[Mapping[str, int], ...]
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def extras(self) -> list[dict[str, Any]]:
        """Metadata keys that each passage gets."""
        more = {"rankgate_failed_retrievers": dict(self.failures)} if self.failures else {}
        return [{"rankgate_found_by": dict(ranks), **more} for ranks in self.found_by]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the outcome should know."""
        return tuple(f"retriever_failed: {name}: {why}" for name, why in self.failures.items())


class RetrieverFusion(Generic[Retriever]):
    """Which retrievers are asked, and how their lists become one order.

    Their scores are of different kinds and none is known for every passage, so the merged list
    is an order and nothing more.

    Args:
        retrievers: a list, or a mapping from names to retrievers. Those of a list are named by
            their class, counted where a class comes twice.
        weights: one each, >= 0, as a list or by name; None: all 1. One of weight 0 is not asked.
        rrf_k: smoothing of the reciprocal ranks.

    Attributes:
        members: name to retriever, of those that are asked.

    Raises:
        InputError: no retriever, or weights that do not fit.
    """

    def __init__(
        self,
        retrievers: Sequence[Retriever] | Mapping[str, Retriever],
        *,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        rrf_k: float = 60.0,
    ) -> None:
        named = dict(retrievers) if isinstance(retrievers, Mapping) else _named(retrievers)
        factors = _factors(list(named), weights)
        if not rrf_k > 0 or not math.isfinite(rrf_k):
            raise InputError(f"rrf_k must be a number above 0, got {rrf_k!r}")
        self.members = {name: r for name, r in named.items() if factors[name] > 0}
        self.weights = {name: factors[name] for name in self.members}
        self.rrf_k = rrf_k

    def merge(
        self,
        lists: Mapping[str, Sequence[Hashable]],
        k: int,
        *,
        failures: Mapping[str, str] | None = None,
    ) -> Merged:
        """At most k of the lists' ids, merged in pages as `fuse_in_pages` says.

        Args:
            lists: name of a retriever to ids, best first, each `list_depth(k)` long if there are
                so many.
            failures: of the retrievers that gave no list, for the record.
        """
        ranks: dict[str, dict[Hashable, int]] = {name: {} for name in lists}
        for name, ids in lists.items():
            for rank, identifier in enumerate(ids, start=1):
                ranks[name].setdefault(identifier, rank)

        def fused_at(depth: int) -> list[tuple[Hashable, float]]:
            return reciprocal_rank_fusion(
                [list(ids)[:depth] for ids in lists.values()],
                k=self.rrf_k,
                weights=[self.weights[name] for name in lists],
            )

        fused = fuse_in_pages(fused_at, k)
        return Merged(
            ids=tuple(i for i, _ in fused),
            scores=tuple(score for _, score in fused),
            found_by=tuple({n: r[i] for n, r in ranks.items() if i in r} for i, _ in fused),
            failures={} if failures is None else dict(failures),
        )


def separate_failures(
    results: Mapping[str, Result | BaseException],
) -> tuple[dict[str, Result], dict[str, str]]:
    """The results of the retrievers that gave one, and why the others did not.

    One list less is better than no answer, so failures are logged and left out.

    Raises:
        Exception: the first retriever's error, where all failed; a caller's mistake
            (`InputError`) and a cancellation are no failure of a retriever and go through.
    """
    given: dict[str, Result] = {}
    failed: dict[str, Exception] = {}
    for name, result in results.items():
        if not isinstance(result, BaseException):
            given[name] = result
        elif isinstance(result, Exception) and not isinstance(result, InputError):
            failed[name] = result
        else:
            raise result
    if not given:
        error = next(iter(failed.values()))
        error.add_note(f"all retrievers failed: {', '.join(failed)}")
        raise error
    reasons = {name: f"{type(error).__name__}: {error}" for name, error in failed.items()}
    for name, reason in reasons.items():
        logger.warning("retriever %s failed: %s", name, reason)
        warn_unheard(f"the retriever {name} fails and is left out: each outcome says why")
    return given, reasons


def _named(retrievers: Sequence[Retriever]) -> dict[str, Retriever]:
    named: dict[str, Retriever] = {}
    for retriever in retrievers:
        base = name = type(retriever).__name__
        number = 1
        while name in named:
            number += 1
            name = f"{base}-{number}"
        named[name] = retriever
    return named


def _factors(
    names: Sequence[str], weights: Sequence[float] | Mapping[str, float] | None
) -> dict[str, float]:
    if not names:
        raise InputError("from_retrievers needs at least one retriever, got none")
    if weights is None:
        return dict.fromkeys(names, 1.0)
    if isinstance(weights, Mapping):
        if set(weights) != set(names):
            raise InputError(
                f"weights must name the retrievers {sorted(names)}, got {sorted(weights)}"
            )
        factors = {name: weights[name] for name in names}
    else:
        if len(weights) != len(names):
            raise InputError(f"{len(names)} retrievers, but {len(weights)} weights")
        factors = dict(zip(names, weights, strict=True))
    for name, weight in factors.items():
        if not weight >= 0 or not math.isfinite(weight):
            raise InputError(f"the weight of {name!r} must be a number >= 0, got {weight!r}")
    if not any(factors.values()):
        raise InputError("one of the weights must be above 0")
    return factors
