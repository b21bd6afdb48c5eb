"""Brings the distances of a vector index to one scale: cosine similarity in [-1, 1].

Chroma returns *distances*, lower is better, whose meaning depends on the collection's space;
LlamaIndex hands on `exp(-distance)`. Thresholds fitted on one mean nothing on another, so
everything is turned into the cosine first. For l2 and ip that is exact for unit vectors only,
which every usual sentence embedding is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

from rankgate.errors import ConfigError, InputError

__all__ = [
    "Space",
    "chroma_space",
    "cosine_from_distance",
    "cosine_from_exp_distance",
    "space_named",
]

Space = Literal["cosine", "l2", "ip"]
_SPACES = ("cosine", "l2", "ip")
# float32 indexes are off by a little; more than this means that vectors are not unit length.
_TOLERANCE = 1e-2


def space_named(name: str) -> Space:
    """`name`, if it is a space whose distances are understood.

    Raises:
        ConfigError: it is not.
    """
    if name not in _SPACES:
        raise ConfigError(
            f"unknown vector space {name!r}: its distances cannot be turned into a similarity. "
            f"Use a collection with one of {', '.join(_SPACES)}."
        )
    return cast(Space, name)


def chroma_space(store: Any) -> Space:
    """The space of the Chroma collection behind a framework's vector store; reads no server.

    It stands in the collection's configuration (under `hnsw` or `spann`), and for older ones
    in the metadata key `hnsw:space`. A collection that names none has Chroma's default, l2.

    Args:
        store: LangChain's `Chroma` or LlamaIndex's `ChromaVectorStore`, which both keep their
            collection in `_collection`.

    Raises:
        ConfigError: there is no Chroma collection, or its space is not understood.
    """
    collection = getattr(store, "_collection", None)
    configuration = getattr(collection, "configuration_json", None)
    metadata = getattr(collection, "metadata", None)
    if collection is None or (configuration is None and not hasattr(collection, "metadata")):
        raise ConfigError(
            f"{type(store).__name__} shows no Chroma collection to read the vector space from. "
            "Pass space='cosine', 'l2' or 'ip', whichever its distances are in; over another store "
            "(LangChain's from_vectorstore) it is found by looking."
        )
    if isinstance(configuration, Mapping):
        for index in ("hnsw", "spann"):
            section = configuration.get(index)
            if isinstance(section, Mapping) and section.get("space") is not None:
                return space_named(str(section["space"]))
    if isinstance(metadata, Mapping) and metadata.get("hnsw:space") is not None:
        return space_named(str(metadata["hnsw:space"]))
    return "l2"


def cosine_from_distance(distance: float, space: str) -> float:
    """Cosine similarity in [-1, 1] from a Chroma distance.

    cosine: 1 - d. ip: 1 - d (unit vectors). l2: Chroma's is the *squared* distance, so
    1 - d / 2 (unit vectors).

    Raises:
        ConfigError: unknown space.
        InputError: no distance of unit vectors, or not a number.
    """
    known = space_named(space)
    value = 1.0 - distance / 2.0 if known == "l2" else 1.0 - distance
    if not -1.0 - _TOLERANCE <= value <= 1.0 + _TOLERANCE:  # NaN fails too
        raise InputError(
            f"a {known} distance of {distance:g} gives a cosine of {value:g}: the embeddings are "
            "not of unit length. Normalise them, or use a collection with the cosine space."
        )
    return max(-1.0, min(1.0, value))


def cosine_from_exp_distance(score: float, space: str) -> float:
    """Cosine similarity from LlamaIndex's Chroma score, which is `exp(-distance)`.

    Raises:
        ConfigError: unknown space.
        InputError: not the exponential of a distance of unit vectors.
    """
    if not score > 0.0:
        raise InputError(f"exp(-distance) is above 0, got {score:g}")
    return cosine_from_distance(-math.log(score), space)
