"""The vector space of the Chroma collection behind an index, as the collection records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankgate.errors import ConfigError
from rankgate.firststage.spaces import Space, space_named

__all__ = ["chroma_space", "is_chroma"]


def is_chroma(vector_store: Any) -> bool:
    """Whether its scores are `exp(-distance)`: LlamaIndex's own store, or a class derived of it.

    By name, because the package that holds it may not be installed.
    """
    return any(base.__name__ == "ChromaVectorStore" for base in type(vector_store).__mro__)


def chroma_space(vector_store: Any) -> Space:
    """The space of a `ChromaVectorStore`'s collection; reads no server.

    It stands in the collection's configuration (under `hnsw` or `spann`), and for older ones
    in the metadata key `hnsw:space`. A collection that names none has Chroma's default, l2.

    Raises:
        ConfigError: there is no Chroma collection, or its space is not understood.
    """
    collection = getattr(vector_store, "_collection", None)
    configuration = getattr(collection, "configuration_json", None)
    metadata = getattr(collection, "metadata", None)
    if collection is None or (configuration is None and not hasattr(collection, "metadata")):
        raise ConfigError(
            f"{type(vector_store).__name__} shows no Chroma collection to read the vector space "
            "from. Pass space='cosine', 'l2' or 'ip', whichever its distances are in; for another "
            "vector store use from_retriever, which reads the order alone."
        )
    if isinstance(configuration, Mapping):
        for index in ("hnsw", "spann"):
            section = configuration.get(index)
            if isinstance(section, Mapping) and section.get("space") is not None:
                return space_named(str(section["space"]))
    if isinstance(metadata, Mapping) and metadata.get("hnsw:space") is not None:
        return space_named(str(metadata["hnsw:space"]))
    return "l2"
