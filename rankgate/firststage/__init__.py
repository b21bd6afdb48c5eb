"""The first stage: BM25, fusion, vector spaces, signals."""

from rankgate.firststage.bm25 import Analyser, BM25Index
from rankgate.firststage.candidates import fuse_candidates
from rankgate.firststage.fusion import Fusion, reciprocal_rank_fusion, weighted_fusion
from rankgate.firststage.signals import Signals, compute_signals
from rankgate.firststage.spaces import cosine_from_distance, cosine_from_exp_distance

__all__ = [
    "Analyser",
    "BM25Index",
    "Fusion",
    "Signals",
    "compute_signals",
    "cosine_from_distance",
    "cosine_from_exp_distance",
    "fuse_candidates",
    "reciprocal_rank_fusion",
    "weighted_fusion",
]
