"""Every error that rankgate raises.

RankgateError
├── InputError (ValueError)          what the caller handed over cannot be used
├── ConfigError                      a setting or file is wrong; the message says how to mend it
│   ├── PolicyError                  a policy file is malformed or lacks a section
│   │   └── ProfileMismatchError     the policy was fitted for another scorer or first stage
│   ├── ModelNotFoundError           no weights where they were looked for
│   ├── WeightsMismatchError         weights found, but their sha256 is not the expected one
│   └── MissingExtraError (ImportError)   an optional dependency is not installed
└── ScorerError                      stage two failed; `Reranker` turns these into `degraded`
    ├── BadScoresError               wrong length, NaN, infinite or missing scores
    ├── ScorerTimeoutError           no answer within the remaining time
    ├── BreakerOpenError             the breaker refused the call
    └── RemoteScorerError            a remote reranker answered with an error, or not at all
        ├── RemoteAuthError          401 or 403
        ├── RemoteLimitError         413, 422 or 429: too large, malformed, or too often
        └── RemoteProtocolError      an answer that the dialect does not allow
"""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings

logger = logging.getLogger("rankgate")

__all__ = [
    "BadScoresError",
    "BreakerOpenError",
    "ConfigError",
    "InputError",
    "MissingExtraError",
    "ModelNotFoundError",
    "PolicyError",
    "ProfileMismatchError",
    "RankgateError",
    "RankgateWarning",
    "RemoteAuthError",
    "RemoteLimitError",
    "RemoteProtocolError",
    "RemoteScorerError",
    "ScorerError",
    "ScorerTimeoutError",
    "WeightsMismatchError",
    "warn_once",
    "warn_unheard",
]


class RankgateError(Exception):
    """Base of every error that rankgate raises on purpose."""


class RankgateWarning(UserWarning):
    """What whoever set rankgate up has to know, where no log is set up to tell it."""


@functools.cache
def warn_once(note: str) -> None:
    """Say it once in a process (a server would say it with every request) where it is heard.

    That is the log, or where nobody has set one up Python's own warnings, which reach stderr.
    """
    if _heard():
        logger.warning("%s", note)
    else:
        warnings.warn(note, RankgateWarning, stacklevel=3)


def warn_unheard(note: str) -> None:
    """As `warn_once`, where the log has its own word on each case; it never raises."""
    if not _heard():
        with contextlib.suppress(RankgateWarning):  # where warnings are errors
            warn_once(note)


def _heard() -> bool:
    """Whether any handler shows what is logged; the library's own shows nothing."""
    at: logging.Logger | None = logger
    while at is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False


class InputError(RankgateError, ValueError):
    """The caller handed over something that cannot be used."""


class ConfigError(RankgateError):
    """A setting or a file is wrong; the message says how to mend it."""


class PolicyError(ConfigError):
    """A policy file is malformed, of another version, or lacks a section."""


class ProfileMismatchError(PolicyError):
    """The policy was fitted for another scorer or first stage than the one in use."""


class ModelNotFoundError(ConfigError):
    """No model weights in any of the places that were searched."""


class WeightsMismatchError(ConfigError):
    """Weights were found, but they are not the ones that were asked for."""


class MissingExtraError(ConfigError, ImportError):
    """An optional dependency is not installed.

    Args:
        what: the thing that needs it, in the caller's words.
        extra: the name of the extra of the `rankgate` distribution that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(
            f"{what} needs the extra {extra!r}, which is not installed. "
            f"Run: pip install 'rankgate[{extra}]'"
        )


class ScorerError(RankgateError):
    """Stage two failed.

    `reason` is the short code that an outcome carries when this error degrades it.
    """

    reason = "scorer_error"


class BadScoresError(ScorerError):
    """A scorer returned scores that cannot be used: wrong length, NaN, infinite, missing."""

    reason = "bad_scores"


class ScorerTimeoutError(ScorerError):
    """The scorer gave no answer within the remaining time."""

    reason = "timeout"


class BreakerOpenError(ScorerError):
    """The circuit breaker is open: the scorer was not called at all."""

    reason = "breaker_open"


class RemoteScorerError(ScorerError):
    """A remote reranker answered with an error, or could not be reached.

    `status` is the HTTP status, where there was an answer.
    """

    reason = "remote_error"
    status: int | None = None


class RemoteAuthError(RemoteScorerError):
    """The server refused the key (401 or 403)."""

    reason = "remote_auth"


class RemoteLimitError(RemoteScorerError):
    """The server refused the request's size, shape or frequency (413, 422, 429)."""

    reason = "remote_limit"


class RemoteProtocolError(RemoteScorerError):
    """The server's answer is not one that its dialect allows."""

    reason = "remote_protocol"
