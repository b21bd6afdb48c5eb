"""What stands around every request: ids, headers, hosts, origins, body sizes, one log line.

Plain ASGI, because a body has to be counted while it is read and a stream must not be buffered.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_app.server.errors import error_body

__all__ = ["Guard"]

logger = logging.getLogger("rankgate.access")

_SAFE = ("GET", "HEAD", "OPTIONS")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Wraps the application.

    Args:
        app: what is guarded.
        hosts: names under which the server may be addressed, without ports; "*" for any. Keeps
            foreign pages from reaching it under a name of theirs (DNS rebinding).
        origins: foreign origins whose pages may call, such as `https://intranet.example`.
        max_body: bytes of a request.
        max_upload: bytes of a request that uploads documents.
        requests: counts requests by route and status.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        origins: Collection[str] = (),
        max_body: int,
        max_upload: int,
        requests: Counter,
    ) -> None:
        self.app = app
        self.requests = requests
        self.hosts = frozenset(h.lower() for h in hosts)
        self.origins = frozenset(origins)
        self.max_body = max_body
        self.max_upload = max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        identifier = given if _ID.fullmatch(given) else secrets.token_hex(8)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = identifier
        begun, status = time.perf_counter(), 0

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                outgoing = MutableHeaders(scope=message)
                outgoing["X-Request-Id"] = identifier
                for name, value in _HEADERS.items():
                    outgoing.setdefault(name, value)
            await send(message)

        try:
            refused = self._refusal(scope, headers)
            if refused is not None:
                await _say(dressed, *refused)
            else:
                await self._counted(scope, headers, receive, dressed)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self.requests.labels(route, str(status)).inc()
            # No question, no key, no query string.
            principal = state.get("principal")
            logger.info(
                "%s %s %s %d %.0f ms key=%s",
                identifier,
                scope["method"],
                scope["path"],
                status,
                (time.perf_counter() - begun) * 1000.0,
                "-" if principal is None else principal.id,
            )

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if "*" not in self.hosts and name.lower() not in self.hosts:
            return 421, "unknown_host", f"this server is not {host!r}; set trusted_hosts"
        if scope["method"] in _SAFE:
            return None
        origin = headers.get("origin")
        foreign = (
            headers.get("sec-fetch-site") == "cross-site"
            if origin is None
            else urlsplit(origin).netloc != host
        )
        if foreign and origin not in self.origins:
            return 403, "foreign_origin", "requests from other sites' pages are refused"
        return None

    async def _counted(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        uploads = scope["method"] == "POST" and scope["path"].rstrip("/") == "/v1/documents"
        limit = self.max_upload if uploads else self.max_body
        message = f"the request is larger than {limit / 2**20:g} MB"
        declared = headers.get("content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            await _say(send, 413, "too_large", message)
            return
        read = 0
        over = started = False

        async def counting() -> Message:
            nonlocal read, over
            got = await receive()
            if got["type"] == "http.request":
                read += len(got.get("body", b""))
                if read > limit:
                    over = True
                    # To the application the client is gone; the answer comes from here.
                    return {"type": "http.disconnect"}
            return got

        async def sending(out: Message) -> None:
            nonlocal started
            if over and not started:
                return
            started = True
            await send(out)

        try:
            await self.app(scope, counting, sending)
        except Exception:
            if not over:
                raise
        if over and not started:
            await _say(send, 413, "too_large", message)


async def _say(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps(error_body(status, code, message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
