"""Encodes every passage once: for the dense list and for late interaction together.

Both read from one forward pass of the same encoder, so both are kept: pooled vectors in a
`VectorCache`, token vectors in a `TokenStore`, in one folder, by content. A stopped run resumes.
Questions are never kept: what encoding them costs belongs to the latency that is measured.
"""

from __future__ import annotations

from pathlib import Path

from rankgate.encoders import TokenEncoder, TokenStore
from rankgate.retrieve import Encoder, MemoryIndex, Progress, TokenCache
from rankgate.types import FirstStageKind
from rankgate_eval.data.dataset import Dataset

DEFAULT_CACHE = Path(".rankgate") / "eval"


def build_index(
    data: Dataset,
    *,
    kind: FirstStageKind | str = FirstStageKind.HYBRID,
    encoder: Encoder | None = None,
    store: TokenStore | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> MemoryIndex:
    """An index over the data set's passages.

    Args:
        kind: `bm25` needs no encoder.
        encoder: for `dense` and `hybrid`; None: all-MiniLM-L6-v2.
        store: token vectors are kept there too, where `encoder` is a `TokenEncoder`.
        cache: folder for pooled vectors; None: they are not kept.
        progress: told how many passages are encoded.

    Raises:
        ModelNotFoundError: no encoder was given, and all-MiniLM-L6-v2 is not installed.
        ConfigError: the cache cannot be opened.
    """
    if FirstStageKind(kind) is FirstStageKind.BM25:
        return MemoryIndex.build(data.corpus, documents=data.documents)
    reader: Encoder = TokenEncoder.load() if encoder is None else encoder
    passages = None
    if store is not None and isinstance(reader, TokenEncoder):
        passages = TokenCache(reader, store)
    return MemoryIndex.build(
        data.corpus,
        encoder=reader,
        cache=cache,
        passages=passages,
        documents=data.documents,
        progress=progress,
    )
