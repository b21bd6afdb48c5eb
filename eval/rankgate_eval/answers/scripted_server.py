"""The scripted judge and generator on loopback, speaking OpenAI's protocol.

It understands what clients send (plain chat, JSON mode, structured outputs, forced tools,
embeddings) and misbehaves on request: slow, 429 with Retry-After, 500, cut off, garbage, refusal,
truncated. Its replies depend on the request alone, so a run against it can be repeated.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rankgate_eval.answers.ledger import digest
from rankgate_eval.answers.scripted import Generate, bag_vector, scripted_text

__all__ = ["Fault", "ScriptedServer", "serving"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How a reply goes wrong; the default goes right.

    Attributes:
        status: HTTP status; anything but 200 gives an error body.
        headers: sent along, such as Retry-After.
        delay_s: before the reply.
        cut_after: bytes after which the connection is broken off.
        garbage: sent instead of the API's JSON.
        text: replaces the content.
        refusal: the model's refusal.
        finish: finish_reason.
        usage: whether tokens are counted.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
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
        requests: every request body, in the order of arrival.
        digests: of the same, as the ledger writes them.
    """

    def __init__(
        self,
        generate: Generate | None = None,
        *,
        fault: Callable[[dict[str, Any], int], Fault | None] | None = None,
        vector: Callable[[str], list[float]] | None = None,
        key: str | None = None,
    ) -> None:
        self.generate = generate
        self.fault = fault
        self.vector = bag_vector if vector is None else vector
        self.key = key
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.digests: list[str] = []
        self.busiest = 0
        self._active = 0
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, path: str, body: dict[str, Any]) -> int:
        """Remember a request; how often exactly it has come."""
        # The ledger hashes an embedding's input alone.
        hashed = digest({"input": body["input"][0]} if path.endswith("embeddings") else body)
        with self._lock:
            self.requests.append(body)
            self.digests.append(hashed)
            self._seen[hashed] = self._seen.get(hashed, 0) + 1
            return self._seen[hashed]

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Counts requests that are answered at the same time."""
        with self._lock:
            self._active += 1
            self.busiest = max(self.busiest, self._active)
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1


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
        count = state.note(self.path, body)
        fault = state.fault(body, count) if state.fault is not None else None
        with state.working(), contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer(body, Fault() if fault is None else fault)

    def _answer(self, body: dict[str, Any], fault: Fault) -> None:
        time.sleep(fault.delay_s)
        if fault.status != 200:
            self._json(fault.status, {"error": {"message": "as asked for"}}, fault.headers)
            return
        if fault.garbage is not None:
            self._bytes(200, fault.garbage.encode())
            return
        made = self._embedded(body) if self.path.endswith("embeddings") else self._chat(body, fault)
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

    def _chat(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        text = fault.text
        if text is None:
            text = scripted_text(body["messages"], self.server_state.generate)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": fault.refusal}
        if fault.refusal is not None:
            message["content"] = None
        elif body.get("tools"):
            function = {"name": body["tools"][0]["function"]["name"], "arguments": text}
            call = {"id": "call_1", "type": "function", "function": function}
            message |= {"content": None, "tool_calls": [call]}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": fault.finish}],
            "usage": {
                "prompt_tokens": len(json.dumps(body["messages"])) // 4,
                "completion_tokens": len(text) // 4,
                "total_tokens": 1,
            },
        }

    def _embedded(self, body: dict[str, Any]) -> dict[str, Any]:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        rows = [
            {"object": "embedding", "index": i, "embedding": self.server_state.vector(t)}
            for i, t in enumerate(texts)
        ]
        usage = {"prompt_tokens": sum(len(t) for t in texts) // 4, "total_tokens": 1}
        return {"object": "list", "data": rows, "model": body["model"], "usage": usage}

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
