"""Model weights: where they are found, how they are checked, and what reads with them."""

from rankgate.encoders.encoder import TokenEncoder, TokenVectors
from rankgate.encoders.head import TokenHead
from rankgate.encoders.locate import MINILM_SHA256, ModelFiles, find_minilm
from rankgate.encoders.packing import PackedVectors, packed
from rankgate.encoders.query_encoder import QueryEncoder, save_query_layers
from rankgate.encoders.shared_tokens import SharedTokens
from rankgate.encoders.token_store import TokenStore

__all__ = [
    "MINILM_SHA256",
    "ModelFiles",
    "PackedVectors",
    "QueryEncoder",
    "SharedTokens",
    "TokenEncoder",
    "TokenHead",
    "TokenStore",
    "TokenVectors",
    "find_minilm",
    "packed",
    "save_query_layers",
]
