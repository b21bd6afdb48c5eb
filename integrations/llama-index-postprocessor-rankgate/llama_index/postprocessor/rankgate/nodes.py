"""Nodes: LlamaIndex's to candidates, and passages back to new nodes with our metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.schema import MetadataMode, NodeWithScore

from rankgate import Candidate, Outcome, Passage
from rankgate.errors import InputError
from rankgate.firststage import cosine_from_exp_distance
from rankgate.firststage.spaces import Space

__all__ = ["METADATA_KEYS", "annotated", "candidates_from_nodes", "nodes_from_outcome"]

METADATA_KEYS = (
    "relevance_score",
    "rankgate_dense",
    "rankgate_bm25",
    "rankgate_rank_before",
    "rankgate_rank",
    "rankgate_raw_score",
    "rankgate_outcome",
    "rankgate_reason",
    "rankgate_scorer",
)


def annotated(metadata: Mapping[str, Any], outcome: Outcome, passage: Passage) -> dict[str, Any]:
    """A copy of `metadata` with this pass's scores; those of an earlier pass are gone.

    `relevance_score` is the probability in [0, 1]. A key whose value is not known is absent,
    so that nobody takes a missing probability for a low one.
    """
    kept = {
        key: value
        for key, value in metadata.items()
        if key != "relevance_score" and not key.startswith("rankgate_")
    }
    ours = {
        "relevance_score": passage.relevance_score,
        "rankgate_dense": passage.candidate.dense,
        "rankgate_bm25": passage.candidate.bm25,
        "rankgate_rank_before": passage.candidate.rank,
        "rankgate_rank": passage.rank,
        "rankgate_raw_score": passage.raw_score,
        "rankgate_outcome": outcome.status.value,
        "rankgate_reason": outcome.reason,
        "rankgate_scorer": outcome.scorer.id,
    }
    return {**kept, **{key: value for key, value in ours.items() if value is not None}}


def candidates_from_nodes(
    nodes: Sequence[NodeWithScore], *, chroma_space: Space | None = None
) -> list[Candidate]:
    """Candidates in the nodes' order; the text is the one that was meant for embedding.

    Args:
        nodes: best first.
        chroma_space: the node scores are Chroma's `exp(-distance)` in this space and become
            cosines; None: the scores are not read, because their meaning is not known.

    Raises:
        InputError: not a `NodeWithScore`, or a score that is no `exp(-distance)`.
    """
    found = []
    for i, node in enumerate(nodes):
        if not isinstance(node, NodeWithScore):
            raise InputError(f"node {i} must be a NodeWithScore, got {type(node).__name__}")
        dense = None
        if chroma_space is not None and node.score is not None:
            dense = cosine_from_exp_distance(_finite(node.score, i), chroma_space)
        found.append(
            Candidate(
                id=node.node.node_id,
                text=node.node.get_content(metadata_mode=MetadataMode.EMBED),
                rank=i + 1,
                metadata=dict(node.node.metadata),
                dense=dense,
            )
        )
    return found


def _finite(score: float, position: int) -> float:
    if not math.isfinite(score):
        raise InputError(f"node {position}: the score must be finite, got {score}")
    return float(score)


def nodes_from_outcome(outcome: Outcome, nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """The kept passages as new nodes, best first; none where the query was refused.

    Our metadata is kept out of prompts and out of embedded text. The score of a node is its
    probability; without a relevance model the scorer's raw score; where neither was read, the
    score it came with. Mixed lists (a deadline passed) are in order nevertheless: order, not
    score, is what counts.

    Args:
        outcome: of candidates in the order of `nodes`.
        nodes: copied, never changed.
    """
    result = []
    for p in outcome.kept:
        source = nodes[p.index]
        score = source.score
        if p.relevance_score is not None:
            score = p.relevance_score
        elif p.raw_score is not None:
            score = p.raw_score
        node = source.node.model_copy(
            update={
                "metadata": annotated(source.node.metadata, outcome, p),
                "excluded_llm_metadata_keys": _with_ours(source.node.excluded_llm_metadata_keys),
                "excluded_embed_metadata_keys": _with_ours(
                    source.node.excluded_embed_metadata_keys
                ),
            }
        )
        result.append(NodeWithScore(node=node, score=score))
    return result


def _with_ours(keys: Sequence[str]) -> list[str]:
    return [*keys, *(key for key in METADATA_KEYS if key not in keys)]
