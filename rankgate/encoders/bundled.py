"""The weights that come with this package; each release has at most one set of them."""

from __future__ import annotations

from pathlib import Path

from rankgate.encoders.encoder import TokenEncoder
from rankgate.encoders.locate import MINILM_SHA256
from rankgate.encoders.query_encoder import QueryEncoder

__all__ = ["QUERY_SHA256", "bundled_query_encoder"]

_FOLDER = Path(__file__).parent / "weights"
QUERY_SHA256 = "fb2455f3e9ee47648ebfcf32ecad6f4e8a773ac16f04a18204012075550c2ff2"


def bundled_query_encoder(encoder: TokenEncoder) -> QueryEncoder | None:
    """The query encoder of this release; None for an encoder that it was not tuned for.

    Raises:
        ModelNotFoundError: the file is missing.
        WeightsMismatchError: the file is not the one that was released.
    """
    if encoder.sha256 != MINILM_SHA256:
        return None
    return QueryEncoder.load(_FOLDER / "query-encoder.safetensors", encoder, sha256=QUERY_SHA256)
