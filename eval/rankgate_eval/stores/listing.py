"""The corpus file that is made of a store's passages."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rankgate.errors import InputError, MissingExtraError
from rankgate.types import Candidate

_DOCUMENT = ("document_id", "document", "source", "file_path", "file_name", "ref_doc_id", "name")
_SHOWN = ("title", "heading", "page", "source", "name")


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
