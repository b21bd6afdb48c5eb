"""What stands around every request: ids, headers, hosts, origins, keys, body sizes, one log line.

Plain ASGI, because a body has to be counted while it is read and a stream must not be buffered.
Keys are looked at here so that nobody without one has a body read, let alone parsed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Collection, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_app.server.access import COOKIE, Access
from rag_app.server.errors import ApiError, error_response

logger = logging.getLogger("rankgate.access")

_SAFE = ("GET", "HEAD", "OPTIONS")
# Whoever asks whether the process lives often does so by its number.
_ANY_HOST = ("/healthz",)
_KEYED = ("/v1/", "/v2/", "/mcp")
_GONE = 499  # nginx's number for a client that left before its answer
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: forms would be sent with `Origin: null`, which is nobody's.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RequestChecks:
    """Wraps the application.

    Args:
        hosts: names under which the server may be addressed, without ports; "*" for any. Keeps
            foreign pages from reaching it under a name of theirs (DNS rebinding).
        origins: foreign origins whose pages may call, such as `https://intranet.example`.
        max_upload: bytes of a request that uploads documents.
        requests: counts requests by route and status.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        hosts: Collection[str],
        origins: Collection[str] = (),
        max_body: int,
        max_upload: int,
        requests: Counter,
    ) -> None:
        self.app = app
        self.access = access
        self.requests = requests
        self.hosts = frozenset(h.lower() for h in hosts)
        self.origins = frozenset(origins)
        self.max_body = max_body
        self.max_upload = max_upload
        # Its own thread: the shared ones may all be waiting for an index that is being opened.
        self._key_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rankgate-keys")

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
            if refused is None and scope["path"].startswith(_KEYED):
                refused = await self._keyless(scope, state)
            if refused is not None:
                await error_response(refused)(scope, receive, dressed)
            else:
                await self._counted(scope, headers, receive, dressed)
        except Exception:
            # Its words may be a user's: they go to the log of errors, never to the caller.
            logger.exception("request %s failed", identifier)
            if status:
                raise  # too late for an answer; the connection breaks off
            broken = f"something broke here; its log has request {identifier}"
            await error_response(ApiError(500, "internal", broken))(scope, receive, dressed)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            final = status if status else _GONE
            self.requests.labels(route, str(final)).inc()
            # No question, no key, no query string, and no path that somebody made up.
            principal = state.get("principal")
            fields = {
                "request": identifier,
                "method": scope["method"],
                "route": route,
                "status": final,
                "ms": round((time.perf_counter() - begun) * 1000.0),
                "key": "-" if principal is None else principal.id,
            }
            logger.info(
                "%(request)s %(method)s %(route)s %(status)d %(ms)d ms key=%(key)s",
                fields,
                extra={"fields": fields},
            )

    async def _keyless(self, scope: Scope, state: MutableMapping[str, Any]) -> ApiError | None:
        loop = asyncio.get_running_loop()
        asked = HTTPConnection(scope)
        found = await loop.run_in_executor(self._key_thread, self.access.recognise, asked)
        if found is None:
            return self.access.unauthorised()
        state["principal"] = found
        return None

    def _refusal(self, scope: Scope, headers: Headers) -> ApiError | None:
        host = headers.get("host", "")
        known = "*" in self.hosts or _hostname(host) in self.hosts
        if not known and scope["path"] not in _ANY_HOST:
            return ApiError(421, "unknown_host", f"this server is not {host!r}; set trusted_hosts")
        if scope["method"] in _SAFE:
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None:
            own = _netloc(origin) == host
        elif site is not None:
            own = site in ("same-origin", "none")
        else:
            # No browser of today sends a cookie without saying where it comes from.
            own = "authorization" in headers or f"{COOKIE}=" not in headers.get("cookie", "")
        if not own and origin not in self.origins:
            return ApiError(403, "foreign_origin", "requests from other sites' pages are refused")
        return None

    async def _counted(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        uploads = scope["method"] == "POST" and scope["path"].rstrip("/") == "/v1/documents"
        limit = self.max_upload if uploads else self.max_body
        large = ApiError(
            413,
            "too_large",
            f"the request is larger than {limit / 2**20:g} MB",
            headers={"Connection": "close"},
        )
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await error_response(large)(scope, receive, send)
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
            await error_response(large)(scope, receive, send)


def _hostname(host: str) -> str:
    """The name in a Host header, without its port; "" where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


class JsonLines(logging.Formatter):
    """A JSON object a line; what stands around a request comes as fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        line |= {"message": record.getMessage()} if fields is None else fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(form: str) -> None:
    """Show warnings of everything that is ours, and a line a request.

    Args:
        form: `text`, `json`, or `none`: no lines of requests.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines()
        if form == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    for name in ("rankgate", "uvicorn"):
        ours = logging.getLogger(name)
        ours.addHandler(handler)
        ours.propagate = False
    logging.getLogger("rankgate.access").setLevel(
        logging.WARNING if form == "none" else logging.INFO
    )
