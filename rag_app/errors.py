"""Every error that the application adds to the engine's tree.

RankgateError
├── ConfigError
│   └── StoreError                   the data folder cannot be used as it is
│       ├── StoreLockedError         another process, or another part of this one, holds it
│       └── StoreMismatchError       it was filled with another embedder, space or chunking
├── InputError
│   ├── NothingToIngestError         the paths lead to no file that can be read
│   └── UnknownDocumentError         no such document or chunk in the collection
├── ParseError                       one file cannot be read; ingestion reports it and goes on
└── RequestOverError                 the time is over or the client has gone; the rest is not begun
"""

from __future__ import annotations

from rankgate.errors import ConfigError, InputError, RankgateError


class QuotaError(RankgateError):
    """A key has as much as it may have; the message says how much, and which setting it is."""


class StoreError(ConfigError):
    """The data folder cannot be used as it is; the message says how to mend it."""


class StoreLockedError(StoreError):
    """The data folder is in use.

    Args:
        message: what holds it, and what to do.
        pid: the holder's process id; None where it could not be read.
    """

    def __init__(self, message: str, pid: int | None) -> None:
        self.pid = pid
        super().__init__(message)


class StoreMismatchError(StoreError):
    """The collection was filled with another embedder, vector space or chunking."""


class NothingToIngestError(InputError):
    """The paths that were given lead to no file that can be read."""


class UnknownDocumentError(InputError):
    """No document or chunk with this id is in the collection."""


class ParseError(RankgateError):
    """One file cannot be read.

    Args:
        reason: a short code: unreadable, empty, too_large, too_many_pages, encrypted, broken,
            wrong_type, not_text, no_text, unsupported, timeout, memory or crashed.
        detail: the reason in a sentence, with how to mend it where that is known.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class RequestOverError(RankgateError):
    """A request's time is over, or nobody waits for it; the rest of its work was not begun."""
