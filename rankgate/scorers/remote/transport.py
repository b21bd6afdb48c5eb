"""Carries a remote scorer's requests over httpx, blocking or async, from one implementation.

What to send, when to wait and when to give up is decided by generators that know no socket;
`carry_out` answers them by blocking, `acarry_out` by awaiting.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from rankgate.errors import ConfigError, MissingExtraError
from rankgate.scorers.remote.secret import Secret
from rankgate.scorers.steps import adrive, drive

if TYPE_CHECKING:
    import httpx

__all__ = [
    "Exchange",
    "Failure",
    "HttpTransport",
    "Pause",
    "Reply",
    "Send",
    "Unanswered",
    "acarry_out",
    "carry_out",
    "endpoint_of",
]

T = TypeVar("T")
# 1,000 results with their documents are a few megabytes; more is no reranker's answer.
_MAX_ANSWER = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """An act of a generator: send this body, wait `timeout` seconds at most."""

    body: bytes
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """An act of a generator: wait."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The server answered; `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Failure(StrEnum):
    """Why there was no answer: too late, connection lost, or not decodable (too long)."""

    TIMEOUT = "timeout"
    BROKEN = "broken"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """The server did not answer, or not in HTTP; `cause` is the HTTP library's error."""

    failure: Failure
    cause: Exception


Exchange = Generator[Send | Pause, Reply | Unanswered | None, T]


class _TooLong(Exception):
    """The answer is longer than any reranker's."""


class HttpTransport:
    """One endpoint, and the httpx clients that reach it.

    Clients are made when they are first needed: one a process (a socket shared with a forked
    parent would mix up answers), and one an event loop (a connection belongs to its loop).
    Own clients use no proxy and read no environment variable; inject a client for that.

    Args:
        client, async_client: used instead of own ones, and never closed here.

    Raises:
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Secret | None = None,
        max_connections: int = 10,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
    ) -> None:
        _httpx()
        self.url = url
        self.injected = client is not None or async_client is not None
        self._key = key
        self._max_connections = max_connections
        self._client = client
        self._async_client = async_client
        self._own: dict[int, httpx.Client] = {}
        self._own_async: dict[asyncio.AbstractEventLoop, tuple[int, httpx.AsyncClient]] = {}

    def send(self, act: Send) -> Reply | Unanswered:
        """Send and wait, blocking; a body that trickles in is given up at the timeout.

        Connecting and each read of the *headers* have the timeout to themselves, so a server
        that trickles headers can hold a blocking caller longer; the async twin is bounded.
        """
        httpx = _httpx()
        until = time.monotonic() + act.timeout
        try:
            with self._sync().stream("POST", self.url, **self._request(act)) as response:
                parts, size = [], 0
                for part in response.iter_bytes():
                    size += len(part)
                    if size > _MAX_ANSWER:
                        raise _TooLong(f"the answer is longer than {_MAX_ANSWER} bytes")
                    if time.monotonic() > until:
                        raise httpx.ReadTimeout("the answer did not end in time")
                    parts.append(part)
                return _reply(response, b"".join(parts))
        except (httpx.RequestError, _TooLong) as exc:
            return _unanswered(exc)

    async def asend(self, act: Send) -> Reply | Unanswered:
        """`send` without blocking the event loop."""
        httpx = _httpx()
        try:
            async with (
                asyncio.timeout(act.timeout),
                self._async().stream("POST", self.url, **self._request(act)) as response,
            ):
                parts, size = [], 0
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > _MAX_ANSWER:
                        raise _TooLong(f"the answer is longer than {_MAX_ANSWER} bytes")
                    parts.append(part)
                return _reply(response, b"".join(parts))
        except (httpx.RequestError, _TooLong, TimeoutError) as exc:
            return _unanswered(exc)

    def close(self) -> None:
        """Close own blocking connections; they are opened again when needed."""
        own = self._own.pop(os.getpid(), None)
        if own is not None:
            own.close()

    async def aclose(self) -> None:
        """Close own connections of this event loop, and the blocking ones."""
        pid, own = self._own_async.pop(asyncio.get_running_loop(), (0, None))
        if own is not None and pid == os.getpid():
            await own.aclose()
        self.close()

    def _request(self, act: Send) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return {
            "content": act.body,
            "headers": headers,
            "timeout": act.timeout,
            "follow_redirects": False,
        }

    def _sync(self) -> httpx.Client:
        if self._client is not None:
            return self._client
        own = self._own.get(os.getpid())
        if own is None:
            fresh = _httpx().Client(trust_env=False, limits=self._limits())
            # Atomic without a lock, which a fork could leave locked for ever.
            own = self._own.setdefault(os.getpid(), fresh)
            if own is not fresh:
                fresh.close()
        return own

    def _async(self) -> httpx.AsyncClient:
        if self._async_client is not None:
            return self._async_client
        loop, here = asyncio.get_running_loop(), os.getpid()
        pid, own = self._own_async.get(loop, (0, None))
        if own is None or pid != here:
            for ended in [known for known in list(self._own_async) if known.is_closed()]:
                self._own_async.pop(ended, None)  # nobody called aclose() there
            own = _httpx().AsyncClient(trust_env=False, limits=self._limits())
            self._own_async[loop] = (here, own)
        return own

    def _limits(self) -> httpx.Limits:
        limits: httpx.Limits = _httpx().Limits(max_connections=self._max_connections)
        return limits


def carry_out(steps: Exchange[T], transport: HttpTransport, cancelled: threading.Event) -> T:
    """Carry an exchange out, blocking; a pause ends when the caller has gone."""

    def do(act: Send | Pause) -> Reply | Unanswered | None:
        if isinstance(act, Send):
            return transport.send(act)
        cancelled.wait(act.seconds)
        return None

    return drive(steps, do)


async def acarry_out(steps: Exchange[T], transport: HttpTransport) -> T:
    """Carry an exchange out without blocking the event loop."""

    async def do(act: Send | Pause) -> Reply | Unanswered | None:
        if isinstance(act, Send):
            return await transport.asend(act)
        await asyncio.sleep(act.seconds)
        return None

    return await adrive(steps, do)


def _httpx() -> Any:
    try:
        import httpx
    except ImportError as exc:
        raise MissingExtraError("RemoteScorer", "remote") from exc
    return httpx


def _reply(response: httpx.Response, body: bytes) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(status=response.status_code, headers=MappingProxyType(headers), body=body)


def _unanswered(error: Exception) -> Unanswered:
    httpx = _httpx()
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return Unanswered(failure=Failure.TIMEOUT, cause=error)
    if isinstance(error, httpx.TransportError):
        return Unanswered(failure=Failure.BROKEN, cause=error)
    return Unanswered(failure=Failure.GARBLED, cause=error)


def endpoint_of(url: str, path: str) -> str:
    """The dialect's endpoint on that server; what of it the URL has already is not repeated.

    Raises:
        ConfigError: no http or https URL, or one with a password in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"url must begin with http:// or https:// and name a host, got {parts.scheme!r} and "
            f"{parts.hostname!r}"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError("url must not hold a user name or password; pass the key as api_key")
    base = parts.path.rstrip("/")
    steps = path.strip("/").split("/")
    if not base.endswith(f"/{steps[-1]}"):
        there = (n for n in range(len(steps), 0, -1) if base.endswith(f"/{'/'.join(steps[:n])}"))
        base = "/".join((base, *steps[next(there, 0) :]))
    return urlunsplit((parts.scheme, parts.netloc, base, parts.query, ""))
