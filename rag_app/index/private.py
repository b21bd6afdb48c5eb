"""The data folder is its owner's alone: documents, questions, keys and vectors lie in it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger("rankgate")

_OTHERS = 0o077


def private_folder(folder: Path) -> None:
    """Make the data folder where it is missing, and shut others out of one that lets them in.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & _OTHERS:
        try:
            folder.chmod(0o700)
        except OSError as exc:  # another user's, such as a volume of a container
            logger.warning(
                "others of this machine may read %s, which holds documents and questions, and its "
                "mode cannot be changed (%s): chmod 700 it",
                folder,
                exc.strerror,
            )
        else:
            logger.warning("%s let others of this machine in; it is mode 700 now", folder)


@contextmanager
def private_files() -> Iterator[None]:
    """Whatever this process makes meanwhile is its user's alone, by whichever library."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)
