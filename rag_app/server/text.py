"""What counts as text in a request."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

__all__ = ["Text"]


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        # JSON can write half of a pair; no tokenizer, database or answer can hold it.
        raise ValueError("not valid Unicode: a lone surrogate") from exc
    return value


Text = Annotated[str, AfterValidator(_encodable)]
"""A string that can be encoded, stored and sent back."""
