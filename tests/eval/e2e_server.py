"""The scripted judge and generator on loopback, speaking OpenAI's protocol.

It understands what clients send (plain chat, JSON mode, structured outputs, forced tools,
embeddings) and misbehaves on request: slow, 429 with Retry-After, 500, cut off, garbage, refusal,
truncated. Its replies depend on the request alone, so a run against it can be repeated.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rankgate_eval.answers.rehearsal import scripted_reply
from rankgate_eval.paid.calls import digest

__all__ = ["Fault", "ScriptedServer", "serving"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How a reply goes wrong; the default goes right.

    Attributes:
        status: HTTP status; anything but 200 gives an error body.
        headers: sent along, such as Retry-After.
        held: the reply waits for `ScriptedServer.go`, or until the server closes.
        cut_after: bytes after which the connection is broken off.
        garbage: sent instead of the API's JSON.
        text: replaces the content.
        refusal: the model's refusal.
        finish: finish_reason.
        usage: whether tokens are counted.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    held: bool = False
    cut_after: int | None = None
    garbage: str | None = None
    text: str | None = None
    refusal: str | None = None
    finish: str = "stop"
    usage: bool = True


class ScriptedServer:
    """State of a running server.

    Args:
        generate: writes the answers; None: the best sentence.
        fault: asked for each request body and its 1-based count; None or a fault.
        vector: of a text; None: of its words.
        key: that clients must show; None: none.

    Attributes:
        url: base URL.
        go: set by the test, for what is held.
        active, busiest: requests that are being answered; the most at a time.
        connections: that are open.
        requests: every request body, in the order of arrival.
        headers: of the same requests.
        tokens: how many a request is read as; None: four characters each.
        refusal: what it says with a status other than 200.
        digests: of the same, as the store keeps them.
    """

    refusal = "as asked for"
    tokens: Callable[[dict[str, Any]], int] | None = None

    def __init__(
        self,
        generate: Callable[..., str] | None = None,
        *,
        fault: Callable[[dict[str, Any], int], Fault | None] | None = None,
        vector: Callable[[str], list[float]] | None = None,
        key: str | None = None,
    ) -> None:
        self.generate = generate
        self.fault = fault
        self.vector = vector
        self.key = key
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.digests: list[str] = []
        self.go = threading.Event()
        self.busiest = self.active = self.connections = 0
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, body: dict[str, Any], headers: dict[str, str]) -> int:
        """Remember a request; how often exactly it has come."""
        hashed = digest(body)
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            self.digests.append(hashed)
            self._seen[hashed] = self._seen.get(hashed, 0) + 1
            return self._seen[hashed]

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Counts requests that are answered at the same time."""
        with self._lock:
            self.active += 1
            self.busiest = max(self.busiest, self.active)
        try:
            yield
        finally:
            with self._lock:
                self.active -= 1

    def connected(self, change: int) -> None:
        """Count a connection that came or went."""
        with self._lock:
            self.connections += change


@contextlib.contextmanager
def serving(state: ScriptedServer | None = None, *, port: int = 0) -> Iterator[ScriptedServer]:
    """A running server on a free port; it is gone at the end of the block."""
    scripted = ScriptedServer() if state is None else state

    class Handler(_Handler):
        server_state = scripted

    server = _Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    scripted.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield scripted
    finally:
        scripted.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: ScriptedServer

    def setup(self) -> None:
        super().setup()
        self.server_state.connected(1)

    def finish(self) -> None:
        # What could not be written to a client that is gone is no error here.
        with contextlib.suppress(ConnectionError):
            super().finish()
        self.server_state.connected(-1)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        state = self.server_state
        if state.key is not None and self.headers.get("Authorization") != f"Bearer {state.key}":
            self._json(401, {"error": {"message": f"Incorrect API key: {self.headers}"}})
            return
        if self.path not in ("/v1/chat/completions", "/v1/embeddings"):
            self._json(404, {"error": {"message": f"unknown path {self.path}"}})
            return
        body = json.loads(raw)
        count = state.note(body, dict(self.headers))
        fault = state.fault(body, count) if state.fault is not None else None
        with state.working(), contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer(body, Fault() if fault is None else fault)

    def _answer(self, body: dict[str, Any], fault: Fault) -> None:
        if fault.held:
            self.server_state.go.wait(60)
        if fault.status != 200:
            # So that the client waits no longer than a test wants, unless the fault says how long.
            headers = fault.headers if fault.headers else {"Retry-After-Ms": "1"}
            self._json(fault.status, {"error": {"message": self.server_state.refusal}}, headers)
            return
        if fault.garbage is not None:
            self._bytes(200, fault.garbage.encode())
            return
        made = self._made(body, fault)
        if not fault.usage:
            del made["usage"]
        data = json.dumps(made).encode()
        if fault.cut_after is None:
            self._bytes(200, data)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: fault.cut_after])
        self.close_connection = True

    def _made(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        made = scripted_reply(body, self.server_state.generate, vector=self.server_state.vector)
        if self.server_state.tokens is not None:
            made["usage"]["prompt_tokens"] = self.server_state.tokens(body)
        if "messages" in body:
            choice = made["choices"][0]
            choice["finish_reason"] = fault.finish
            if fault.refusal is not None:
                choice["message"] = {"role": "assistant", "content": None, "refusal": fault.refusal}
            elif fault.text is not None:
                choice["message"] = {"role": "assistant", "content": fault.text, "refusal": None}
        return made

    def _json(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        self._bytes(status, json.dumps(body).encode(), headers)

    def _bytes(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({} if headers is None else headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
