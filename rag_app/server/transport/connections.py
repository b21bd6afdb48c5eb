"""What one connection may cost: size of headers, time to send them, time to read an answer.

Only `rankgate serve` uses it; it stands below the application, where no key has been seen yet.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["MAX_HEADERS", "Connection"]

MAX_HEADERS = 32 * 1024
HEADERS_S = 10.0
WRITE_S = 30.0
PER_ADDRESS = 256
# Connections by address, of all servers of this process.
OPEN: Counter[str] = Counter()


class Connection(H11Protocol):
    """uvicorn's connection in pure Python, which bounds headers, with three more limits.

    A connection is closed that has not sent a request's headers in `HEADERS_S` seconds, that has
    not read what was written to it for `WRITE_S`, or that is the 257th of its address. A proxy
    that the settings trust brings many people from one address and is not counted.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headers_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None
        self._address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and wait for its first headers."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if address not in self.config.forwarded_allow_ips:
            self._address = address
            OPEN[address] += 1
            if OPEN[address] > PER_ADDRESS:
                transport.abort()
                return
        self._headers_due = self.loop.call_later(HEADERS_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place back."""
        if self._address is not None:
            OPEN[self._address] -= 1
            if not OPEN[self._address]:
                del OPEN[self._address]
        _off(self._headers_due)
        _off(self._read_due)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Whoever has begun a request has to end its headers in time."""
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE
        if not waits:
            _off(self._headers_due)
            self._headers_due = None
        elif self._headers_due is None and not self.transport.is_closing():
            self._headers_due = self.loop.call_later(HEADERS_S, self.transport.abort)

    def pause_writing(self) -> None:
        """The other side does not read."""
        super().pause_writing()
        self._read_due = self._read_due or self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        _off(self._read_due)
        self._read_due = None
        super().resume_writing()


def _off(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
