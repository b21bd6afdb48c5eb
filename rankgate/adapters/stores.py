"""What a store keeps, whatever keeps it: every passage, and the vectors of some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from rankgate.errors import InputError
from rankgate.types import Candidate

__all__ = ["comes_from", "listed", "nodes_of", "stored_vectors", "stores_below"]

Row = tuple[str, Any, Mapping[str, Any]]

_PAGE = 1000
_WITHIN = (
    "dense",
    "finder",
    "_finder",
    "retriever",
    "base_retriever",
    "vectorstore",
    "supplier",
    "first_stage",
)


def listed(store: Any, *, id_key: str | None = None) -> Iterator[Candidate]:
    """Every passage of a store, with its metadata, in the store's own order.

    Args:
        store: has `passages()`; or is a Chroma store of either framework or a Chroma collection,
            LangChain's FAISS, Qdrant or store in memory, a LlamaIndex index, retriever or document
            store (`docs`), or a mapping of id to text.
        id_key: the metadata key with the passage's id; None: the store's own id.

    Raises:
        InputError: it cannot list its passages, one has no text, or lacks `id_key`.
    """
    for rank, (own, text, metadata) in enumerate(_rows(store), start=1):
        if not isinstance(text, str):
            raise InputError(f"passage {own!r} has no text in the store, so none can be written")
        key = own if id_key is None else metadata.get(id_key)
        if key is None:
            have = ", ".join(sorted(metadata)) or "none"
            raise InputError(f"passage {own!r} has no metadata {id_key!r}; its keys: {have}")
        yield Candidate(id=str(key), text=text, rank=rank, metadata=metadata)


def _rows(store: Any) -> Iterator[Row]:
    if callable(getattr(store, "passages", None)):
        return ((c.id, c.text, c.metadata) for c in store.passages())
    if isinstance(store, Mapping):
        return ((str(key), text, {}) for key, text in store.items())
    nodes = nodes_of(store)
    if nodes is not None:
        return (_node_row(node.node_id, node) for node in nodes)
    collection = _chroma(store)
    if collection is not None:
        return _chroma_rows(collection)
    if _is_a(store, "FAISS"):
        kept = map(store.docstore.search, store.index_to_docstore_id.values())
        names = store.index_to_docstore_id.values()
        return ((str(i), d.page_content, d.metadata) for i, d in zip(names, kept, strict=True))
    if _is_a(store, "InMemoryVectorStore"):
        return ((str(i), d["text"], d["metadata"]) for i, d in list(store.store.items()))
    if _is_a(store, "QdrantVectorStore") and hasattr(store, "content_payload_key"):
        return _qdrant_rows(store)
    raise InputError(
        f"{type(store).__name__} cannot list its passages: give a Chroma, FAISS or Qdrant store, a "
        "LlamaIndex index or retriever with its nodes, a mapping of id to text, or an object whose "
        "`passages()` yields rankgate.Candidate"
    )


def nodes_of(store: Any) -> list[Any] | None:
    """The nodes of a LlamaIndex index, retriever or document store; None: it lists none."""
    docs = getattr(_own(store, "docstore", store), "docs", None)
    if isinstance(docs, Mapping) and docs:
        return list(docs.values())
    listing = getattr(_own(store, "vector_store", None), "get_nodes", None)
    try:
        return None if listing is None else list(listing(None))
    except NotImplementedError:  # of the base class: this store has no listing
        return None


def _own(store: Any, name: str, default: Any) -> Any:
    """An index shows what a retriever of it keeps to itself."""
    return getattr(store, name, getattr(store, f"_{name}", default))


def comes_from(thing: Any, package: str) -> bool:
    """Whether its class, or one that it derives of, is defined in a package."""
    return any(base.__module__.partition(".")[0] == package for base in type(thing).__mro__)


def stores_below(first_stage: Any) -> list[Any]:
    """What a first stage searches: the stores below its finders, retrievers and fusions."""
    members = getattr(first_stage, "members", None)
    if isinstance(members, Mapping):
        return [store for member in members.values() for store in stores_below(member)]
    within = (getattr(first_stage, name, None) for name in _WITHIN)
    inner = next((one for one in within if one is not None), None)
    return [first_stage] if inner is None else stores_below(inner)


def stored_vectors(
    store: Any,
) -> Callable[[Sequence[str]], list[Sequence[float]] | None] | None:
    """How to ask a store for the vectors that it keeps; None: it is not known to tell.

    The function takes ids and gives their vectors in that order, or None where one is missing.
    """
    collection = _chroma(store)
    if collection is not None:
        return partial(_all_of, _chroma_vectors, collection)
    if _is_a(store, "FAISS"):
        return partial(_all_of, _faiss_vectors, store)
    if _is_a(store, "InMemoryVectorStore"):
        return partial(_all_of, _memory_vectors, store)
    if _is_a(store, "QdrantVectorStore") and getattr(store, "client", None) is not None:
        return partial(_all_of, _qdrant_vectors, store)
    kept = getattr(getattr(store, "data", None), "embedding_dict", None)
    if isinstance(kept, Mapping):  # LlamaIndex's SimpleVectorStore
        return partial(_all_of, _simple_vectors, store)
    return None


def _all_of(
    ask: Callable[[Any, Sequence[str]], Mapping[str, Sequence[float]]],
    store: Any,
    ids: Sequence[str],
) -> list[Sequence[float]] | None:
    found = ask(store, ids) if ids else {}
    return [found[i] for i in ids] if all(i in found for i in ids) else None


def _is_a(store: Any, name: str) -> bool:
    """By name, because the package that holds the class may not be installed."""
    return any(base.__name__ == name for base in type(store).__mro__)


def _chroma(store: Any) -> Any:
    """What pages through Chroma: the store itself, or the collection within LlamaIndex's."""
    for one in (store, getattr(store, "client", None)):
        packages = {base.__module__.partition(".")[0] for base in type(one).__mro__}
        if hasattr(one, "get") and packages & {"chromadb", "langchain_chroma"}:
            return one
    return None


def _chroma_rows(collection: Any) -> Iterator[Row]:
    offset, ids = 0, [""] * _PAGE
    while len(ids) == _PAGE:
        page = collection.get(limit=_PAGE, offset=offset, include=["documents", "metadatas"])
        ids, metadatas = page["ids"], [{} if m is None else m for m in page["metadatas"]]
        yield from zip(ids, page["documents"], metadatas, strict=True)
        offset += _PAGE


def _chroma_vectors(collection: Any, ids: Sequence[str]) -> Mapping[str, Sequence[float]]:
    page = collection.get(ids=list(ids), include=["embeddings"])
    return dict(zip(page["ids"], page["embeddings"], strict=True))


def _faiss_vectors(store: Any, ids: Sequence[str]) -> Mapping[str, Sequence[float]]:
    at = {name: place for place, name in store.index_to_docstore_id.items()}
    try:
        return {i: store.index.reconstruct(at[i]) for i in ids if i in at}
    except RuntimeError:  # an index that keeps codes alone
        return {}


def _memory_vectors(store: Any, ids: Sequence[str]) -> Mapping[str, Sequence[float]]:
    return {i: store.store[i]["vector"] for i in ids if i in store.store}


def _simple_vectors(store: Any, ids: Sequence[str]) -> Mapping[str, Sequence[float]]:
    kept = store.data.embedding_dict
    return {i: kept[i] for i in ids if i in kept}


def _qdrant_rows(store: Any) -> Iterator[Row]:
    offset: Any = None
    while True:
        records, offset = store.client.scroll(store.collection_name, limit=_PAGE, offset=offset)
        for record in records:
            metadata = record.payload.get(store.metadata_payload_key) or {}
            yield str(record.id), record.payload.get(store.content_payload_key), metadata
        if offset is None:
            return


def _qdrant_vectors(store: Any, ids: Sequence[str]) -> Mapping[str, Sequence[float]]:
    name = getattr(store, "vector_name", "")
    found = {}
    for record in store.client.retrieve(store.collection_name, list(ids), with_vectors=True):
        kept = record.vector
        vector = kept.get(name) if isinstance(kept, Mapping) else kept
        if vector is not None:
            found[str(record.id)] = vector
    return found


def _node_row(key: str, node: Any) -> Row:
    document = getattr(node, "ref_doc_id", None)
    origin = {} if document is None else {"ref_doc_id": document}
    return key, node.get_content(), {**origin, **node.metadata}
