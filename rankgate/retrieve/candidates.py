"""Makes one candidate list of a dense and a BM25 list, with both scores on every candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rankgate.errors import InputError
from rankgate.retrieve.depth import fuse_in_pages, top_entries
from rankgate.retrieve.fusion import Fusion
from rankgate.types import Candidate

__all__ = ["fuse_candidates"]


def fuse_candidates(
    *,
    dense: Mapping[str, float],
    bm25: Mapping[str, float],
    fusion: Fusion,
    k: int,
    missing_dense: Callable[[Sequence[str]], Sequence[float]],
    missing_bm25: Callable[[Sequence[str]], Sequence[float]],
    fetch: Callable[[Sequence[str]], Sequence[tuple[str, Mapping[str, Any]]]],
    fused_at: Callable[[int], Sequence[tuple[str, float]]] | None = None,
) -> list[Candidate]:
    """The k best of two lists, each with its cosine and its BM25 score.

    A score that a list does not hold is *computed* through the callbacks, never imputed: a
    zero for "not in the top 50" would be a lie that the gate and the floor believe.

    How deep the lists are fused is decided here and nowhere else, see `fuse_in_pages`: lists
    that are longer than `list_depth(k)` give the same candidates, and fewer candidates are the
    head of more.

    Args:
        dense: id to cosine in [-1, 1], best first, at least `list_depth(k)` of them if there
            are so many.
        bm25: id to BM25 score, best first, likewise.
        fusion: how to merge.
        k: at most so many candidates.
        missing_dense: cosines for these ids.
        missing_bm25: BM25 scores for these ids.
        fetch: text and metadata for these ids.
        fused_at: ids with fused scores, best first, of lists cut at this depth, where more than
            these two are fused, such as those of several queries; None: the fusion of the two.

    Raises:
        InputError: k below 1, or a callback answers with another number of values.
    """

    def of_the_two(depth: int) -> list[tuple[str, float]]:
        return fusion.fuse(top_entries(dense, depth), top_entries(bm25, depth))

    chosen = fuse_in_pages(of_the_two if fused_at is None else fused_at, k)
    ids = [identifier for identifier, _ in chosen]
    cosines = {**dense, **_fill(ids, dense, missing_dense, "dense")}
    terms = {**bm25, **_fill(ids, bm25, missing_bm25, "BM25")}
    contents = list(fetch(ids)) if ids else []
    if len(contents) != len(ids):
        raise InputError(f"{len(ids)} passages were asked for, {len(contents)} came back")
    return [
        Candidate(
            id=identifier,
            text=text,
            metadata=metadata,
            rank=rank,
            dense=float(cosines[identifier]),
            bm25=float(terms[identifier]),
            fused=float(score),
        )
        for rank, ((identifier, score), (text, metadata)) in enumerate(
            zip(chosen, contents, strict=True), start=1
        )
    ]


def _fill(
    ids: Sequence[str],
    known: Mapping[str, float],
    compute: Callable[[Sequence[str]], Sequence[float]],
    name: str,
) -> dict[str, float]:
    absent = [identifier for identifier in ids if identifier not in known]
    if not absent:
        return {}
    values = list(compute(absent))
    if len(values) != len(absent):
        raise InputError(f"{len(absent)} {name} scores were asked for, {len(values)} came back")
    return dict(zip(absent, values, strict=True))
