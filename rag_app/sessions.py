"""Transactions on the databases that hold a user's own things: keys and conversations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from rag_app.errors import StoreError

# What SQLite says of a disk or a lock, and not of a file that is damaged.
_NO_DAMAGE = ("full", "readonly", "unable to open", "disk I/O", "locked")


@contextmanager
def session_on(engine: Engine, path: Path, what: str) -> Iterator[Session]:
    """One transaction: whole at the end of the block, undone by an error in it.

    Args:
        what: what the file holds, for its errors.

    Raises:
        StoreError: in place of any error of the database.
    """
    try:
        with Session(engine) as session, session.begin():
            yield session
    except SQLAlchemyError as exc:
        raise unusable(path, what, exc) from exc


def unusable(path: Path, what: str, exc: Exception) -> StoreError:
    """What an error of a database means, in words that advise no harm."""
    said = str(exc.orig if isinstance(exc, DBAPIError) else exc)
    if isinstance(exc, OSError) or any(word in said for word in _NO_DAMAGE):
        how = "see that its disk is neither full nor read-only, and try again"
    else:
        how = "bring the file back from a backup, or move it away to begin anew"
    return StoreError(f"{what} in {path} cannot be used ({said}): {how}.")
