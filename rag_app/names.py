"""What a collection may be called, as a folder is called after it; and that there is none."""

from __future__ import annotations

import re

from rankgate.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


class UnknownCollectionError(InputError):
    """There is no collection of this name, or not for whoever asks."""


def check_name(name: str) -> str:
    """The name, if it can be a collection's.

    Raises:
        InputError: it cannot; with what a name may be.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError(
            "a collection's name has 3 to 63 letters, digits, dots (not two in a row), dashes or "
            f"underscores, and begins and ends with a letter or digit; got {name!r}"
        )
    return name
