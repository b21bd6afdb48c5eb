"""Model weights: where they are found, how they are checked, and what reads with them."""

from rankgate.models.encoder import TokenEncoder, TokenVectors
from rankgate.models.head import TokenHead
from rankgate.models.locate import MINILM_SHA256, ModelFiles, find_minilm
from rankgate.models.query_encoder import QueryEncoder, save_query_layers
from rankgate.models.token_store import TokenStore

__all__ = [
    "MINILM_SHA256",
    "ModelFiles",
    "QueryEncoder",
    "TokenEncoder",
    "TokenHead",
    "TokenStore",
    "TokenVectors",
    "find_minilm",
    "save_query_layers",
]
