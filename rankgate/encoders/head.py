"""A head over late interaction; the encoder and stored passage vectors stay as they are.

It is applied to the similarities, so a token store that was filled without it serves it too.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankgate.encoders.encoder import TokenVectors
from rankgate.encoders.packing import PackedVectors, packed, similarities
from rankgate.errors import ConfigError

__all__ = ["TokenHead"]

FloatArray = npt.NDArray[np.float32]
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenHead:
    """How similarities of tokens become one score.

    score = mix * max over windows of s(window) + (1 - mix) * s(whole passage), where s(part) is
    the mean over the question's tokens of the best similarity in that part. Windows are `window`
    tokens long and overlap by half. With mix 0 this is plain MaxSim.

    Attributes:
        encoder: sha256 of the encoder that its scores are of.
        window: tokens of a window, even, at least 2.
        mix: share of the best window, in [0, 1].
    """

    encoder: str
    window: int = 32
    mix: float = 0.5

    def __post_init__(self) -> None:
        if self.window < 2 or self.window % 2:
            raise ConfigError(f"window must be an even number of tokens, got {self.window}")
        if not 0.0 <= self.mix <= 1.0:
            raise ConfigError(f"mix must be in [0, 1], got {self.mix}")

    def scores(
        self, query: FloatArray, passages: Sequence[TokenVectors | PackedVectors]
    ) -> FloatArray:
        """(n,) in [-1, 1]; -1 for a passage without tokens, 0 where the question has none."""
        result = np.full(len(passages), -1.0, dtype=np.float32)
        if query.shape[0] == 0:
            result[:] = 0.0
            return result
        compact = [packed(p) for p in passages]
        filled = [i for i, p in enumerate(compact) if len(p)]
        if not filled:
            return result
        weights = np.full(query.shape[0], 1.0 / query.shape[0], dtype=np.float32)
        lengths = np.array([len(compact[i]) for i in filled])
        similar = similarities(query, [compact[i] for i in filled])
        half = self.window // 2
        blocks = -(-lengths // half)
        first_token = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        first_block = np.concatenate([[0], np.cumsum(blocks)[:-1]])
        starts = np.concatenate(
            [at + half * np.arange(n) for at, n in zip(first_token, blocks, strict=True)]
        )
        best = np.maximum.reduceat(similar, starts, axis=0)
        whole = np.maximum.reduceat(best, first_block, axis=0) @ weights
        # A window is two blocks that follow each other; the last block of a passage stands alone,
        # which never beats the window that ends with it.
        pairs = best.copy()
        pairs[:-1] = np.maximum(best[:-1], best[1:])
        pairs[first_block + blocks - 1] = best[first_block + blocks - 1]
        windowed = np.maximum.reduceat(pairs @ weights, first_block)
        result[filled] = self.mix * windowed + (1.0 - self.mix) * whole
        return result

    @property
    def sha256(self) -> str:
        """Of all that it computes with: equal heads have equal hashes."""
        arrays: dict[str, Any] = {
            "format": np.array(_FORMAT),
            "encoder": np.array(self.encoder),
            "window": np.array(self.window),
            "mix": np.array(self.mix, dtype=np.float64),
        }
        stream = io.BytesIO()
        # No other keyword: numpy 1.26 takes `allow_pickle` for one more array.
        np.savez(stream, **arrays)
        return hashlib.sha256(stream.getvalue()).hexdigest()
