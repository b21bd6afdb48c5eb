"""Ingestion: files become parsed documents, documents become chunks, chunks are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_app.ingest.document import Block, ParsedDocument

if TYPE_CHECKING:
    from rag_app.ingest.chunk import Chunk, Chunker
    from rag_app.ingest.ingestion import ingest
    from rag_app.ingest.report import FailedFile, IngestReport, Progress

__all__ = [
    "Block",
    "Chunk",
    "Chunker",
    "FailedFile",
    "IngestReport",
    "ParsedDocument",
    "Progress",
    "ingest",
]

_HOMES = {
    "Chunk": "rag_app.ingest.chunk",
    "Chunker": "rag_app.ingest.chunk",
    "FailedFile": "rag_app.ingest.report",
    "IngestReport": "rag_app.ingest.report",
    "Progress": "rag_app.ingest.report",
    "ingest": "rag_app.ingest.ingestion",
}


def __getattr__(name: str) -> object:
    # The parser process imports this package too, and must not carry the engine with it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
