"""Server-sent events, written by hand: a line of JSON an event."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Send

DONE = b"data: [DONE]\n\n"
"""What ends a stream of OpenAI's that is whole."""


def event(body: dict[str, Any]) -> bytes:
    """One event. JSON escapes line breaks, so that its data is one line."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


class EventStream(StreamingResponse):
    """A stream of events that proxies neither keep nor hold back.

    Args:
        events: closed when the stream ends, also where its client leaves: Starlette does not, and
            its slot would stay taken until the garbage collector finds it.
    """

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._events = events

    async def stream_response(self, send: Send) -> None:
        """Send the events, and close where they come from."""
        try:
            await super().stream_response(send)
        finally:
            await self._events.aclose()
