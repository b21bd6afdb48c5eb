"""Finding candidates: BM25, fusion and its depth, hybrid search, vector spaces, vector caches.

Imports `rankgate.types`, `rankgate.errors` and, for the caches, `rankgate.encoders`; imported by
policy, adapters, application, evaluation and training, which have no search of their own.
"""

from rankgate.retrieve.bm25 import Analyser, BM25Index
from rankgate.retrieve.depth import DEFAULT_K, LIST_DEPTH, fuse_in_pages, list_depth, top_entries
from rankgate.retrieve.fusion import Fusion, reciprocal_rank_fusion, weighted_fusion
from rankgate.retrieve.hybrid import TwoLists, fuse_candidates, hybrid_candidates
from rankgate.retrieve.memory import MemoryIndex, MemoryLists
from rankgate.retrieve.retrievers import Merged, RetrieverFusion, separate_failures
from rankgate.retrieve.spaces import (
    chroma_space,
    cosine_from_distance,
    cosine_from_exp_distance,
)
from rankgate.retrieve.supplier import CandidateSupplier
from rankgate.retrieve.vector_cache import (
    Embedder,
    Encoder,
    Progress,
    TokenCache,
    TokenReader,
    VectorCache,
)

__all__ = [
    "DEFAULT_K",
    "LIST_DEPTH",
    "Analyser",
    "BM25Index",
    "CandidateSupplier",
    "Embedder",
    "Encoder",
    "Fusion",
    "MemoryIndex",
    "MemoryLists",
    "Merged",
    "Progress",
    "RetrieverFusion",
    "TokenCache",
    "TokenReader",
    "TwoLists",
    "VectorCache",
    "chroma_space",
    "cosine_from_distance",
    "cosine_from_exp_distance",
    "fuse_candidates",
    "fuse_in_pages",
    "hybrid_candidates",
    "list_depth",
    "reciprocal_rank_fusion",
    "separate_failures",
    "top_entries",
    "weighted_fusion",
]
