"""Hybrid search: a dense and a BM25 list become candidates with both scores, over any index.

The application asks Chroma and its BM25 index, evaluation and training an index in memory; how
deep the lists are read, how they are fused and which scores are computed afterwards is here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from rankgate.errors import InputError
from rankgate.retrieve.depth import fuse_in_pages, list_depth, top_entries
from rankgate.retrieve.fusion import Fusion, reciprocal_rank_fusion
from rankgate.types import Candidate

__all__ = ["TwoLists", "fuse_candidates", "hybrid_candidates"]


class TwoLists(Protocol):
    """What one wording of a question finds in an index, by meaning and by words."""

    def dense(self, depth: int) -> Mapping[str, float]:
        """The nearest passages, at most `depth`: id to cosine in [-1, 1], best first."""

    def bm25(self, depth: int) -> Mapping[str, float]:
        """The passages that share a term, at most `depth`: id to BM25 score, best first."""

    def dense_scores(self, ids: Sequence[str]) -> Sequence[float]:
        """Cosines of the named passages, in that order."""

    def bm25_scores(self, ids: Sequence[str]) -> Sequence[float]:
        """BM25 scores of the named passages, in that order; 0 where no term is shared."""


def hybrid_candidates(
    lists: TwoLists,
    *,
    k: int,
    fusion: Fusion,
    fetch: Callable[[Sequence[str]], Sequence[tuple[str, Mapping[str, Any]]]],
    also: Sequence[tuple[TwoLists, float]] = (),
    present: Callable[[Sequence[str]], Collection[str]] | None = None,
) -> list[Candidate]:
    """The k best of an index for a question, each with its cosine and its BM25 score.

    Args:
        lists: of the question; every candidate's scores are those for it alone.
        fusion: how the two lists of each wording are merged.
        fetch: text and metadata for these ids.
        also: lists of further wordings, each with its weight above 0 (the question's is 1). They
            decide which candidates there are and in which order, by the reciprocal ranks of
            the fused lists, and never a score.
        present: which of these ids there are, for an index whose parts follow one another
            while it is written; None: all.

    Raises:
        InputError: k below 1, or an index answers with another number of values.
    """
    depth = list_depth(k)
    wordings = [lists, *(more for more, _ in also)]
    dense = [dict(one.dense(depth)) for one in wordings]
    bm25 = [dict(one.bm25(depth)) for one in wordings]
    if present is not None:
        there = present(list(dict.fromkeys(i for found in (*dense, *bm25) for i in found)))
        dense = [{i: s for i, s in found.items() if i in there} for found in dense]
        bm25 = [{i: s for i, s in found.items() if i in there} for found in bm25]

    def of_all_wordings(depth: int) -> list[tuple[str, float]]:
        fused = [
            fusion.fuse(top_entries(d, depth), top_entries(b, depth))
            for d, b in zip(dense, bm25, strict=True)
        ]
        return reciprocal_rank_fusion(
            [[i for i, _ in one] for one in fused],
            k=fusion.rrf_k,
            weights=[1.0, *(weight for _, weight in also)],
        )

    return fuse_candidates(
        dense=dense[0],
        bm25=bm25[0],
        fusion=fusion,
        k=k,
        missing_dense=lists.dense_scores,
        missing_bm25=lists.bm25_scores,
        fetch=fetch,
        fused_at=of_all_wordings if also else None,
    )


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
