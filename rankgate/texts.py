"""What every scorer does to its input first: check the types, mend what no parser accepts.

And the English words that tell nothing of what a question is about; and files that are written
whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from rankgate.errors import InputError

__all__ = ["FUNCTION_WORDS", "checked_texts", "clean_text", "whole_file"]


FUNCTION_WORDS = frozenset(
    "a about also am an and any are as at be because been before being between but by can cannot "
    "could d did do does doing during for from had has have having he her hers him his how i if in "
    "into is it its just ll m may me might must my no nor not of on or our ours please re s she "
    "should so such t tell than that the their theirs them then there these they this those to "
    "too upon us ve very was we were what when where which while who whom whose why will with "
    "would you your yours".split()
)


def clean_text(text: str) -> str:
    """The text with lone surrogates as `?` and NUL as a space.

    JSON parsers and native tokenizers refuse what is not valid Unicode; C strings end at NUL.
    """
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path beside `target` to write a file or folder to; it takes that place at the block's end.

    Where the block fails, the target stays as it was and nothing is left beside it.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


def checked_texts(query: str, texts: Sequence[str]) -> tuple[str, list[str]]:
    """Query and texts, cleaned, in a new list.

    Raises:
        InputError: something that is not a string, or one string where a list belongs.
    """
    if not isinstance(query, str):
        raise InputError(f"query must be a string, got {type(query).__name__}")
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Sequence):
        raise InputError(
            f"texts must be a list of strings, got {type(texts).__name__}. Put a single text "
            "into a list."
        )
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"text {i} must be a string, got {type(text).__name__}. Pass the passage's text, "
                "not the document object."
            )
    return clean_text(query), [clean_text(t) for t in texts]
