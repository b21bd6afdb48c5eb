"""Token vectors of passages in two bits a dimension: an eighth of float16.

A vector is turned by a fixed rotation, which makes its values look normally distributed whatever
encoder it is of, and each value becomes one of the four levels that lose least of a normal
variable (Lloyd, 10.1109/TIT.1982.1056489; with a rotation before it: TurboQuant, arXiv
2504.19874). A scale for each token makes a token's product with itself exact. Nothing is fitted,
so there is no file of weights to lose, and an encoder of one's own is served as the default is.

Questions are never packed: they are turned, and compared with the levels.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankgate.encoders.encoder import TokenVectors

__all__ = [
    "TOKEN_FORM",
    "PackedVectors",
    "bytes_a_token",
    "packed",
    "rotation",
    "similarities",
    "unpacked",
]

FloatArray = npt.NDArray[np.float32]

TOKEN_FORM = "2bit"
"""Name of what this file does; scores of another form need another policy and another store."""

_LEVELS = np.array([-1.5104, -0.4528, 0.4528, 1.5104], dtype=np.float32)
_BOUND = 0.9816
_A_BYTE = 4
_PLACES = (1 << 2 * np.arange(_A_BYTE)).astype(np.uint8)
# Four values a byte as one item of 16 bytes: taken in one go, several times as fast as rows.
_TABLE = np.ascontiguousarray(_LEVELS[np.arange(256)[:, None] // _PLACES % 4]).view(np.complex128)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedVectors:
    """One passage as it is kept and compared; made by `packed`.

    Attributes:
        codes: (t, ceil(d / 4)) uint8, four dimensions a byte.
        scales: (t,) float16.
        pooled: (d,) float32, unit length, as in `TokenVectors`.
        truncated: whether the text was longer than the encoder reads.
    """

    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float16]
    pooled: FloatArray
    truncated: bool

    def __len__(self) -> int:
        return len(self.codes)

    def part(self, first: int, last: int) -> PackedVectors:
        """The tokens from `first` up to `last`."""
        return PackedVectors(
            codes=self.codes[first:last],
            scales=self.scales[first:last],
            pooled=self.pooled,
            truncated=False,
        )


def bytes_a_token(dimension: int) -> int:
    """Of codes; the scale is two more."""
    return -(-dimension // _A_BYTE)


def packed(vectors: TokenVectors | PackedVectors) -> PackedVectors:
    """The compact form of a passage; what is packed already comes back as it is."""
    if isinstance(vectors, PackedVectors):
        return vectors
    rows, dimension = vectors.tokens.shape
    turned = vectors.tokens.astype(np.float32) @ rotation(dimension)
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    bound = _BOUND * length / np.sqrt(dimension)
    codes = np.zeros((rows, bytes_a_token(dimension) * _A_BYTE), dtype=np.uint8)
    codes[:, :dimension] = (turned > -bound) * 1 + (turned > 0) + (turned > bound)
    along = np.einsum("td,td->t", turned, _LEVELS[codes[:, :dimension]])
    # A token without a length stays one: its scale is 0.
    scales = np.divide(length[:, 0] ** 2, along, out=np.zeros_like(along), where=along > 0)
    return PackedVectors(
        codes=codes.reshape(rows, bytes_a_token(dimension), _A_BYTE) @ _PLACES,
        scales=scales.astype(np.float16),
        pooled=vectors.pooled,
        truncated=vectors.truncated,
    )


def unpacked(passages: Sequence[PackedVectors], dimension: int) -> FloatArray:
    """(sum of t, d) the tokens of all passages end to end, still turned by `rotation`."""
    codes = np.concatenate([p.codes for p in passages])
    scales = np.concatenate([p.scales for p in passages]).astype(np.float32)
    values: FloatArray = _TABLE[:, 0].take(codes).view(np.float32)[:, :dimension]
    values *= scales[:, None]
    return values


def similarities(query: FloatArray, passages: Sequence[PackedVectors]) -> FloatArray:
    """(sum of t, q) cosines of each token of the passages, end to end, to the question's.

    Args:
        query: (q, d) unit rows.
        passages: any number of them, at least one.
    """
    found: FloatArray = unpacked(passages, query.shape[1]) @ (query @ rotation(query.shape[1])).T
    # Two bits can be off beyond what a cosine may be.
    np.clip(found, -1.0, 1.0, out=found)
    return found


@functools.lru_cache(maxsize=4)
def rotation(dimension: int) -> FloatArray:
    """(d, d) orthogonal: signs by chance (of a hash: the same everywhere), then Hartley's turn."""
    places = np.arange(dimension)
    angle = 2 * np.pi * (np.outer(places, places) % dimension) / dimension
    drawn = np.frombuffer(hashlib.shake_256(b"rankgate").digest(dimension), dtype=np.uint8)
    signs = np.where(drawn < 128, -1.0, 1.0)
    turn = signs[:, None] * (np.cos(angle) + np.sin(angle)) / np.sqrt(dimension)
    found: FloatArray = turn.astype(np.float32)
    found.setflags(write=False)
    return found
