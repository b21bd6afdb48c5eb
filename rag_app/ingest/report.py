"""What an ingestion did: documents by fate, failures with their reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an ingestion is.

    Attributes:
        done, total: files looked at, and files found.
        source: the file that comes next; "" at the end.
        chunks: chunks embedded so far.
    """

    done: int
    total: int
    source: str
    chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedFile:
    """A file that could not be read.

    Attributes:
        source: its path, as the user gave it.
        reason: a short code; see `rag_app.errors.ParseError`.
        kept: whether an earlier version of it is still in the index.
    """

    source: str
    reason: str
    detail: str
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an ingestion did. Documents are named by their source, in walking order.

    Attributes:
        added, changed, unchanged, removed: documents by what happened to them.
        failed: files that could not be read; the rest went on.
        skipped: what was passed over, by why: hidden, unsupported, ...
        notes: source to what the user should know about it, such as a guessed encoding.
        embedded: chunks that went through the encoder in this run.
    """

    collection: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    failed: tuple[FailedFile, ...] = ()
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    documents: int = 0
    chunks: int = 0
    embedded: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> IngestReport:
        """Of what `to_dict` gave."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items()
        }
        values["failed"] = tuple(FailedFile(**row) for row in data["failed"])
        for name in ("skipped", "notes"):
            values[name] = {key: tuple(said) for key, said in data[name].items()}
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        data = asdict(self)
        data["skipped"] = {why: list(names) for why, names in self.skipped.items()}
        data["notes"] = {source: list(said) for source, said in self.notes.items()}
        return data
