"""Where the pages of a document begin, kept beside its chunks, so that a quote knows its page.

A table of its own: a manifest that was written without it gets it empty, and passages from then
have the page where they begin and no others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

SCHEMA = """
CREATE TABLE IF NOT EXISTS page_start (
    collection TEXT NOT NULL, document_id TEXT NOT NULL, start INTEGER NOT NULL,
    page INTEGER NOT NULL, PRIMARY KEY (collection, document_id, start)
) WITHOUT ROWID;
"""


def write_pages(
    db: sqlite3.Connection, collection: str, document_id: str, starts: Sequence[tuple[int, int]]
) -> None:
    """Replace what is known of a document's pages: (character offset, page), in order."""
    forget_pages(db, collection, document_id)
    db.executemany(
        "INSERT INTO page_start VALUES (?, ?, ?, ?)",
        [(collection, document_id, start, page) for start, page in starts],
    )


def forget_pages(db: sqlite3.Connection, collection: str, document_id: str) -> None:
    """Forget a document's pages."""
    db.execute(
        "DELETE FROM page_start WHERE collection = ? AND document_id = ?",
        (collection, document_id),
    )


def page_turns(
    db: sqlite3.Connection, collection: str, ids: Sequence[str]
) -> dict[str, list[list[int]]]:
    """For each of these chunks that goes on over another page: [offset, page] of each turn."""
    found: dict[str, list[list[int]]] = {}
    rows = db.execute(
        "SELECT c.id, p.start, p.page FROM chunk c JOIN page_start p ON "
        "p.collection = c.collection AND p.document_id = c.document_id "
        "AND p.start > c.start AND p.start < c.stop "
        f"WHERE c.collection = ? AND c.id IN ({', '.join('?' * len(ids))}) ORDER BY p.start",
        (collection, *ids),
    )
    for identifier, start, page in rows:
        found.setdefault(identifier, []).append([start, page])
    return found


def page_at(metadata: Mapping[str, object], offset: int) -> int | None:
    """The page of a place in a passage's document; None where there are no pages.

    Args:
        metadata: of the passage: `page`, and `page_turns` where it goes on over another page.
        offset: into the document's text, in characters.
    """
    page = metadata.get("page")
    if not isinstance(page, int):
        return None
    turns = metadata.get("page_turns")
    for start, following in turns if isinstance(turns, Sequence) else ():
        if offset >= start:
            page = following
    return page
