"""Deletes conversations that nobody has touched for as many days as the owner allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rag_app.ask.conversations import Conversations

__all__ = ["forgetting"]

logger = logging.getLogger("rankgate.server")

_DAY_S = 24 * 3600.0


@asynccontextmanager
async def forgetting(
    conversations: Conversations, days: float | None, *, every_s: float = _DAY_S
) -> AsyncIterator[None]:
    """Delete what is too old before the block begins, and once a day while it lasts.

    Args:
        conversations: that are kept.
        days: since the last turn; None: everything is kept for ever.
        every_s: seconds between two looks.

    Raises:
        StoreError: the file cannot be used; only before the block begins.
    """
    if days is None:
        yield
        return
    await _forget(conversations, days)
    task = asyncio.create_task(_daily(conversations, days, every_s))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _daily(conversations: Conversations, days: float, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await _forget(conversations, days)
        except Exception:  # a full disk today is no reason to keep things for ever
            logger.exception("old conversations could not be deleted")


async def _forget(conversations: Conversations, days: float) -> None:
    gone = await asyncio.to_thread(conversations.forget_older_than, days)
    if gone:
        logger.info("deleted %d conversations, untouched for %g days", gone, days)
