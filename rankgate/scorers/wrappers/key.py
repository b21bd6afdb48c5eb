"""The key of a cached score: everything that the score depends on, unambiguously delimited."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from rankgate.scorers.protocol import ScorerInfo

__all__ = ["delimited", "score_keys"]

# Raised whenever the meaning of a key or of a stored value changes.
_FORMAT = "rankgate-score-1"


def delimited(fields: Iterable[str | None]) -> bytes:
    """The fields, each behind its own length: different fields never give the same bytes.

    Plain concatenation does not have this property ("ab" + "c" = "a" + "bc"), nor has a
    separator that a field may contain. None and "" differ.
    """
    parts = []
    for field in fields:
        if field is None:
            parts.append(b"-")
            continue
        # Lone surrogates are different texts too.
        data = field.encode("utf-8", "surrogatepass")
        parts.append(b"+" + len(data).to_bytes(8, "big") + data)
    return b"".join(parts)


def score_keys(info: ScorerInfo, query: str, texts: Sequence[str]) -> list[bytes]:
    """One 32-byte sha256 key a text.

    Over: format, scorer id, revision, weights, backend, dtype, max length, window, scale, query
    and text, each `delimited`.
    """
    shared = hashlib.sha256(
        delimited(
            (
                _FORMAT,
                info.id,
                info.revision,
                info.weights,
                info.backend,
                info.dtype,
                None if info.max_length is None else str(info.max_length),
                info.window,
                info.scale,
                query,
            )
        )
    )
    keys = []
    for text in texts:
        one = shared.copy()
        one.update(delimited((text,)))
        keys.append(one.digest())
    return keys
