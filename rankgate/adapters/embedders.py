"""Embedders: which model made a vector store's vectors, asked of the store where it can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankgate.encoders.locate import MINILM_SHA256, file_sha256
from rankgate.profile import Profile, embedder_of_class

__all__ = ["chroma_embedder", "embedder_name", "is_chroma", "known_profile"]

_MINILM = "all-MiniLM-L6-v2"
# As LangChain's and LlamaIndex's embedding classes call it, the most precise first.
_ATTRIBUTES = ("model_name", "model", "model_id", "repo_id", "deployment_name", "deployment")
_INSIDE = ("underlying_embeddings", "embeddings", "_embed_model")
# Chroma's own default function is this model, run by onnxruntime.
_CHROMA_MINILM = ("default", "onnx_mini_lm_l6_v2")


def embedder_name(embeddings: Any) -> str | None:
    """The model's name, as the embedding object of either framework gives it.

    A folder with the published weights of all-MiniLM-L6-v2 is that model under any name. An object
    that names no model is known by its class: `class MyEmbeddings`. None: there is no object.
    """
    if embeddings is None:
        return None
    found = _model_name(embeddings)
    return embedder_of_class(embeddings) if found is None else found


def _model_name(embeddings: Any) -> str | None:
    """As it or what it holds gives it, such as a `SentenceTransformer` under any attribute."""
    for attribute in _ATTRIBUTES:
        value = getattr(embeddings, attribute, None)
        if isinstance(value, str | Path) and str(value) not in ("", "unknown"):
            return _of_folder(Path(value)) or str(value)
    for attribute in _INSIDE:
        inner = getattr(embeddings, attribute, None)
        if inner is not None and not isinstance(inner, str):
            return embedder_name(inner)
    held = vars(embeddings).values() if hasattr(embeddings, "__dict__") else ()
    cards = (getattr(one, "model_card_data", None) for one in held)
    names = (getattr(card, "base_model", None) for card in cards)
    return next((_of_folder(Path(n)) or n for n in names if isinstance(n, str) and n), None)


def chroma_embedder(store: Any) -> str | None:
    """The embedder of LangChain's `Chroma`: its embeddings', else the collection's own."""
    embeddings = getattr(store, "embeddings", None)
    if embeddings is not None:
        return embedder_name(embeddings)
    configuration = getattr(getattr(store, "_collection", None), "configuration_json", None)
    function = configuration.get("embedding_function") if isinstance(configuration, Mapping) else {}
    if not isinstance(function, Mapping):
        return None
    if function.get("name") in _CHROMA_MINILM:
        return _MINILM
    config = function.get("config")
    name = config.get("model_name") if isinstance(config, Mapping) else None
    return name if isinstance(name, str) and name else None


def is_chroma(vector_store: Any) -> bool:
    """Whether it is Chroma: LangChain's store or LlamaIndex's, or a class derived of them.

    By name, because the package that holds it may not be installed.
    """
    names = {base.__name__ for base in type(vector_store).__mro__}
    return bool(names & {"Chroma", "ChromaVectorStore"})


def known_profile(
    given: Profile | None,
    *,
    embedder: str | None = None,
    found: str | None = None,
    space: str | None = None,
) -> Profile:
    """What is known of a first stage; what somebody said goes before what was found.

    Args:
        given: the caller's profile.
        embedder: the caller's name for the embedder.
    """
    known = Profile() if given is None else given
    names = (embedder, known.embedder, found)
    return replace(
        known,
        embedder=next((name for name in names if name is not None), None),
        space=space if known.space is None else known.space,
    )


def _of_folder(folder: Path) -> str | None:
    weights = folder / "model.safetensors"
    if not folder.is_dir():
        return None
    published = weights.is_file() and file_sha256(weights) == MINILM_SHA256
    return _MINILM if published else folder.resolve().name
