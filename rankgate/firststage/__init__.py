"""The first stage: BM25, fusion and its depth, several retrievers, vector spaces, signals."""

from rankgate.firststage.bm25 import Analyser, BM25Index
from rankgate.firststage.candidates import fuse_candidates
from rankgate.firststage.depth import DEFAULT_K, LIST_DEPTH, fuse_in_pages, list_depth, top_entries
from rankgate.firststage.fusion import Fusion, reciprocal_rank_fusion, weighted_fusion
from rankgate.firststage.retrievers import Merged, RetrieverFusion, separate_failures
from rankgate.firststage.signals import Signals, compute_signals
from rankgate.firststage.spaces import (
    chroma_space,
    cosine_from_distance,
    cosine_from_exp_distance,
)
from rankgate.firststage.supplier import CandidateSupplier

__all__ = [
    "DEFAULT_K",
    "LIST_DEPTH",
    "Analyser",
    "BM25Index",
    "CandidateSupplier",
    "Fusion",
    "Merged",
    "RetrieverFusion",
    "Signals",
    "chroma_space",
    "compute_signals",
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
