"""Sentence vectors for mining, kept on disk, so that a resumed training does not encode again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankgate_eval.run.vector_cache import Encoder, VectorCache

__all__ = ["CachedEmbedder"]


class CachedEmbedder:
    """An encoder behind a `VectorCache`.

    Args:
        encoder: encodes what is not known.
        folder: of the cache.
    """

    def __init__(self, encoder: Encoder, folder: str | Path) -> None:
        self._cache = VectorCache(encoder, folder)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d) unit vectors."""
        return self._cache.vectors(list(texts))
