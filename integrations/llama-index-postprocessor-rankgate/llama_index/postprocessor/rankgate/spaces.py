"""Which of LlamaIndex's vector stores is Chroma, so that its scores can be read."""

from __future__ import annotations

from typing import Any

__all__ = ["is_chroma"]


def is_chroma(vector_store: Any) -> bool:
    """Whether its scores are `exp(-distance)`: LlamaIndex's own store, or a class derived of it.

    By name, because the package that holds it may not be installed.
    """
    return any(base.__name__ == "ChromaVectorStore" for base in type(vector_store).__mro__)
