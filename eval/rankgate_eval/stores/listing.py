"""Every passage of a store, whatever keeps it, and the corpus file that is made of them."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rankgate.errors import InputError, MissingExtraError
from rankgate.types import Candidate

__all__ = ["chroma_folder", "document_keys", "listed", "write_corpus"]

_PAGE = 1000
_DOCUMENT = ("document_id", "document", "source", "file_path", "file_name", "ref_doc_id", "name")
_SHOWN = ("title", "heading", "page", "source", "name")


def listed(store: Any, *, id_key: str | None = None) -> Iterator[Candidate]:
    """Every passage of a store, with its metadata, in the store's own order.

    Args:
        store: has `passages()`; or is a Chroma store of either framework or a Chroma collection
            (`get` by pages), a LlamaIndex index or document store (`docs`), or a mapping of id
            to text.
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


def _rows(store: Any) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    if callable(getattr(store, "passages", None)):
        for c in store.passages():
            yield c.id, c.text, c.metadata
        return
    if isinstance(store, Mapping):
        for key, text in store.items():
            yield str(key), text, {}
        return
    docs = getattr(getattr(store, "docstore", store), "docs", None)
    if isinstance(docs, Mapping):
        for key, node in docs.items():
            document = getattr(node, "ref_doc_id", None)
            origin = {} if document is None else {"ref_doc_id": document}
            yield str(key), node.get_content(), {**origin, **node.metadata}
        return
    inner = getattr(store, "client", None)  # LlamaIndex's ChromaVectorStore
    paged = next((s for s in (store, inner) if hasattr(s, "get") and _is_chroma(s)), None)
    if paged is None:
        raise InputError(
            f"{type(store).__name__} cannot list its passages: give a Chroma store or collection, "
            "a LlamaIndex index with its documents, a mapping of id to text, or an object whose "
            "`passages()` yields rankgate.Candidate"
        )
    offset = 0
    while True:
        page = paged.get(limit=_PAGE, offset=offset, include=["documents", "metadatas"])
        yield from zip(
            page["ids"],
            page["documents"],
            [{} if m is None else m for m in page["metadatas"]],
            strict=True,
        )
        if len(page["ids"]) < _PAGE:
            return
        offset += _PAGE


def _is_chroma(store: Any) -> bool:
    return any(
        base.__module__.partition(".")[0] in ("chromadb", "langchain_chroma")
        for base in type(store).__mro__
    )


def chroma_folder(path: Path, name: str | None = None) -> Any:
    """The collection of a folder that Chroma keeps; `name` may be left out where there is one.

    Raises:
        InputError: no such folder or collection.
        MissingExtraError: Chroma is not installed.
    """
    if not (path / "chroma.sqlite3").is_file():
        raise InputError(f"{path} is no folder of Chroma's: it has no chroma.sqlite3")
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError as exc:
        raise MissingExtraError("a folder of Chroma's", "app") from exc
    client = chromadb.PersistentClient(str(path), Settings(anonymized_telemetry=False))
    have = {c.name: c for c in client.list_collections()}
    wanted = next(iter(have), None) if name is None and len(have) == 1 else name
    if wanted is None or wanted not in have:
        said = "several collections" if name is None else f"no collection {name!r}"
        raise InputError(
            f"{path} has {said if have else 'no collection'}: name one with --collection; it has: "
            f"{', '.join(sorted(have)) or 'none'}"
        )
    return have[wanted]


def document_keys(passage: Candidate) -> list[str]:
    """What the document that a passage was cut from may be called, the most precise first.

    Names of files stand without their suffix too, as a data set's ids often are.
    """
    known = [str(v) for k in _DOCUMENT if (v := passage.metadata.get(k)) not in (None, "")]
    return list(dict.fromkeys([*known, *(Path(name).name for name in known), *map(_stem, known)]))


def _stem(name: str) -> str:
    return Path(name).stem


def write_corpus(file: Path, passages: Iterable[Candidate]) -> tuple[int, int, int]:
    """Write passages as BEIR's `corpus.jsonl`, gzipped where the name ends in `.gz`.

    Each row has `_id`, `text`, `document` where it is known, and of the metadata what helps whoever
    labels: title, heading, page, source, name. (`title` stands in the metadata and not beside the
    text, before which BEIR's readers would put it once more.) Where passages have headings, a
    `document` is a document's section: questions about one section succeed and fail together,
    and whole documents would often be too few groups to resample.

    Returns:
        Passages written, documents, and passages left out because they have no text.

    Raises:
        InputError: two passages have one id, there is none, or the file cannot be written.
    """
    seen: set[str] = set()
    documents: set[str] = set()
    blank = 0
    temporary = file.with_name(file.name + ".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # No time in the head: the same passages give the same bytes.
        with temporary.open("wb") as raw, _packed(raw, file) as stream:
            for passage in passages:
                if not passage.text.strip():
                    blank += 1
                    continue
                if passage.id in seen:
                    raise InputError(f"passage id {passage.id!r} stands twice in the store")
                seen.add(passage.id)
                row: dict[str, Any] = {"_id": passage.id, "text": passage.text}
                document = next(iter(document_keys(passage)), None)
                if document is not None:
                    documents.add(document)
                    row["document"] = document + _section(passage)
                shown = {k: passage.metadata[k] for k in _SHOWN if k in passage.metadata}
                row |= {"metadata": shown} if shown else {}
                stream.write((json.dumps(row, ensure_ascii=False, default=str) + "\n").encode())
        if not seen:
            raise InputError("the store has no passage with a text")
        temporary.replace(file)
    except OSError as exc:
        raise InputError(f"{file} cannot be written: {exc}") from exc
    finally:
        with contextlib.suppress(OSError):  # what could not be made cannot be removed
            temporary.unlink(missing_ok=True)
    return len(seen), len(documents), blank


def _section(passage: Candidate) -> str:
    heading = [part for part in str(passage.metadata.get("heading", "")).split(" > ") if part]
    if not heading:
        return ""
    return f": {heading[1] if len(heading) > 1 else '(top)'}"


def _packed(raw: Any, file: Path) -> Any:
    if file.suffix != ".gz":
        return raw
    return gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0)
