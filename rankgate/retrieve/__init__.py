"""Finding candidates: BM25, fusion and its depth, hybrid search, vector spaces.

Imports `rankgate.types`, `rankgate.errors`; imported by policy, adapters, application, evaluation.
"""

from rankgate.retrieve.bm25 import Analyser, BM25Index
from rankgate.retrieve.candidates import fuse_candidates
from rankgate.retrieve.depth import DEFAULT_K, LIST_DEPTH, fuse_in_pages, list_depth, top_entries
from rankgate.retrieve.fusion import Fusion, reciprocal_rank_fusion, weighted_fusion
from rankgate.retrieve.retrievers import Merged, RetrieverFusion, separate_failures
from rankgate.retrieve.spaces import (
    chroma_space,
    cosine_from_distance,
    cosine_from_exp_distance,
)
from rankgate.retrieve.supplier import CandidateSupplier

__all__ = [
    "DEFAULT_K",
    "LIST_DEPTH",
    "Analyser",
    "BM25Index",
    "CandidateSupplier",
    "Fusion",
    "Merged",
    "RetrieverFusion",
    "chroma_space",
    "cosine_from_distance",
    "cosine_from_exp_distance",
    "fuse_candidates",
    "fuse_in_pages",
    "list_depth",
    "reciprocal_rank_fusion",
    "separate_failures",
    "top_entries",
    "weighted_fusion",
]
