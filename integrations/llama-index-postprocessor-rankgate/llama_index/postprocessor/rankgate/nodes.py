"""Nodes: LlamaIndex's to candidates, and passages back to new nodes with our metadata."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, TextNode

from rankgate import Candidate, Outcome
from rankgate.adapters.annotations import METADATA_KEYS, annotated
from rankgate.adapters.found import Found
from rankgate.adapters.refusal import WhenDegraded, WhenRefused, said, shown
from rankgate.adapters.scores import ScoreReader
from rankgate.adapters.stores import nodes_of
from rankgate.errors import InputError
from rankgate.retrieve import cosine_from_exp_distance
from rankgate.retrieve.spaces import Space

__all__ = [
    "METADATA_KEYS",
    "FoundNodes",
    "annotated",
    "candidates_from_nodes",
    "found_nodes",
    "nodes_from_outcome",
    "stored_nodes",
    "text_of",
]

FoundNodes = Found[NodeWithScore]
"""What a finder of this package gives."""

_EARLIER = "rankgate_outcome"  # in the metadata of nodes that an earlier pass has scored


def found_nodes(
    query: str,
    nodes: Sequence[NodeWithScore],
    *,
    scores: ScoreReader | None = None,
    ordered: bool = True,
    chroma_space: Space | None = None,
) -> FoundNodes:
    """Nodes as candidates, with their scores as cosines where they can be read.

    Args:
        nodes: best first.
        scores: reads the node scores; None: they are not read, because nothing is known of them.
        ordered: whether the nodes stand in the order of their scores.
        chroma_space: the node scores are Chroma's `exp(-distance)` in this space.

    Raises:
        InputError: not a `NodeWithScore`, or a score that is not finite or no `exp(-distance)`.
        ConfigError: the space that somebody named is not that of the scores.
    """
    rows = candidates_from_nodes(nodes, chroma_space=chroma_space)
    if scores is None or chroma_space is not None or not rows:
        return Found(candidates=rows, items=list(nodes))
    earlier = [_EARLIER in n.node.metadata for n in nodes]
    given = [_finite(n.score, i) for i, n in enumerate(nodes) if n.score is not None]
    if any(earlier):
        dense = [n.node.metadata.get("rankgate_dense") for n in nodes]
        notes: tuple[str, ...] = ()
    elif len(given) < len(rows):
        dense = [None] * len(rows)
        notes = (f"scores_unread: {scores.what} returned nodes without scores",)
    else:
        ids, texts = [c.id for c in rows], [c.text for c in rows]
        reading = scores.read(query, ids, texts, given, ordered=ordered)
        dense = [None] * len(rows) if reading.cosines is None else list(reading.cosines)
        notes = reading.notes
    return Found(
        candidates=[replace(c, dense=d) for c, d in zip(rows, dense, strict=True)],
        items=list(nodes),
        notes=notes,
    )


def candidates_from_nodes(
    nodes: Sequence[NodeWithScore], *, chroma_space: Space | None = None
) -> list[Candidate]:
    """Candidates in the nodes' order; the text is the one that was meant for embedding.

    Args:
        nodes: best first.
        chroma_space: the node scores are Chroma's `exp(-distance)` in this space and become
            cosines; None: the scores are not read.

    Raises:
        InputError: not a `NodeWithScore`, or a score that is no `exp(-distance)`.
    """
    found = []
    for i, node in enumerate(nodes):
        if not isinstance(node, NodeWithScore):
            raise InputError(f"node {i} must be a NodeWithScore, got {type(node).__name__}")
        dense = None
        if chroma_space is not None:
            dense = _cosine(node, i, chroma_space)
        found.append(
            Candidate(
                id=node.node.node_id,
                text=text_of(node.node),
                rank=i + 1,
                metadata=dict(node.node.metadata),
                dense=dense,
            )
        )
    return found


def text_of(node: BaseNode) -> str:
    """What is read of a node: the text that was meant for embedding."""
    return node.get_content(metadata_mode=MetadataMode.EMBED)


def stored_nodes(retrievers: Iterable[Any]) -> list[BaseNode]:
    """Every node that these retrievers search, from their document or vector stores.

    Raises:
        InputError: one of them cannot list its nodes.
    """
    found: list[BaseNode] = []
    for child in retrievers:
        if callable(getattr(child, "passages", None)):
            found += [TextNode(id_=c.id, text=c.text) for c in child.passages()]
            continue
        nodes = nodes_of(child)
        if nodes is None:
            raise InputError(
                f"{type(child).__name__} cannot list its nodes: give them, warm(nodes)"
            )
        found += nodes
    return found


def _cosine(node: NodeWithScore, position: int, space: Space) -> float | None:
    seen = node.node.metadata
    if _EARLIER in seen:
        # An earlier pass has put its own score in place of Chroma's, and kept the cosine.
        earlier = seen.get("rankgate_dense")
        return None if earlier is None else float(earlier)
    if node.score is None:
        return None
    return cosine_from_exp_distance(_finite(node.score, position), space)


def _finite(score: float, position: int) -> float:
    if not math.isfinite(score):
        raise InputError(f"node {position}: the score must be finite, got {score}")
    return float(score)


def nodes_from_outcome(
    outcome: Outcome,
    nodes: Sequence[NodeWithScore],
    *,
    extras: Sequence[Mapping[str, Any]] | None = None,
    when_refused: WhenRefused = "empty",
    when_degraded: WhenDegraded = "keep",
) -> list[NodeWithScore]:
    """The kept passages as new nodes, best first; none where the query was refused.

    Our metadata is kept out of prompts and out of embedded text. The score of a node is its
    probability, and absent where there is none (no relevance model applies, or a deadline left
    the node unread), so that a `similarity_cutoff` never meets another scale; the scorer's raw
    score is `rankgate_raw_score` in the metadata. Order, not score, is what counts.

    Args:
        outcome: of candidates in the order of `nodes`.
        nodes: copied, never changed.
        extras: further keys for each node's metadata, in the same order.
        when_refused: what a refused query gives. With `say`, nothing found is said too.
        when_degraded: what a query gives whose scorer failed.

    Raises:
        RefusedError: the query was refused, and `when_refused` is `raise`.
        DegradedError: the outcome is degraded, and `when_degraded` is `raise`.
    """
    result = []
    for p in shown(outcome, when_refused, when_degraded):
        source = nodes[p.index]
        node = source.node.model_copy(
            update={
                "metadata": annotated(
                    source.node.metadata, outcome, p, None if extras is None else extras[p.index]
                ),
                "excluded_llm_metadata_keys": _with_ours(source.node.excluded_llm_metadata_keys),
                "excluded_embed_metadata_keys": _with_ours(
                    source.node.excluded_embed_metadata_keys
                ),
            }
        )
        result.append(NodeWithScore(node=node, score=p.relevance_score))
    words = said(outcome, when_refused, empty=not result)
    if words is not None:
        ours = list(METADATA_KEYS)
        node = TextNode(
            text=words,
            metadata={"rankgate_outcome": outcome.status.value, "rankgate_reason": outcome.reason},
            excluded_llm_metadata_keys=ours,
            excluded_embed_metadata_keys=ours,
        )
        result.insert(0, NodeWithScore(node=node))
    return result


def _with_ours(keys: Sequence[str]) -> list[str]:
    return [*keys, *(key for key in METADATA_KEYS if key not in keys)]
