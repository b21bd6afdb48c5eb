"""A strict OpenAI-compatible server on 127.0.0.1 that misbehaves where a test asks for it."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FakeOpenAI", "Reply", "serving"]

_PATH = "/v1/chat/completions"
_ALLOWED = {
    "model",
    "messages",
    "temperature",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "top_p",
    "stop",
    "seed",
    "logprobs",
    "top_logprobs",
    "response_format",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How the server answers one request.

    Attributes:
        text: of the answer.
        status: HTTP status; anything but 200 gives an error body.
        headers: sent along, such as Retry-After.
        holds_after: pieces after which a stream waits for `FakeOpenAI.go`; a whole answer waits
            before its first byte.
        trickles: a moment passes between two pieces of a stream.
        piece: characters a streamed piece.
        cut_after: pieces (or, whole, bytes) after which the connection is broken off.
        garbage: sent instead of JSON.
        finish: finish_reason; None: never sent.
        likely: probabilities of the first token, sent where log-probabilities are asked for; None:
            a server that refuses to give them.
    """

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    holds_after: int | None = None
    trickles: bool = False
    piece: int = 3
    cut_after: int | None = None
    garbage: str | None = None
    finish: str | None = "stop"
    likely: dict[str, float] | None = None


class FakeOpenAI:
    """Replies in turn, the last one again and again, or by `says`. Every request body is kept."""

    def __init__(self, *, key: str | None = None) -> None:
        self.key = key
        self.replies: list[Reply] = []
        self.says: Callable[[dict[str, Any]], Reply] | None = None
        self.requests: list[dict[str, Any]] = []
        self.url = ""
        self.go, self.closed = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def will(self, *replies: Reply) -> None:
        """Set the coming replies."""
        self.go.clear()
        with self._lock:
            self.replies = list(replies)

    def next_reply(self, body: dict[str, Any]) -> Reply:
        with self._lock:
            self.requests.append(body)
            if self.says is not None:
                return self.says(body)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextlib.contextmanager
def serving(*, key: str | None = None) -> Iterator[FakeOpenAI]:
    """A running server on a free port; it is gone at the end of the block."""
    fake = FakeOpenAI(key=key)

    class Handler(_Handler):
        state = fake

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield fake
    finally:
        fake.closed.set()
        fake.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FakeOpenAI

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        complaint = self._complaint(raw)
        if complaint is not None:
            status, message = complaint
            self._json(status, {"error": {"message": message, "type": "invalid_request_error"}})
            return
        body = json.loads(raw)
        reply = self.state.next_reply(body)
        # The client may have given up by now; then nobody is there to be answered.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer(body, reply)

    def _complaint(self, raw: bytes) -> tuple[int, str] | None:
        if self.path != _PATH:
            return 404, f"unknown path {self.path}"
        if self.state.key is not None:
            if self.headers.get("Authorization") != f"Bearer {self.state.key}":
                return 401, "Incorrect API key provided"
        # Nobody here says for which organisation: it could come from an environment alone.
        if {"openai-organization", "openai-project"} & {name.lower() for name in self.headers}:
            return 401, "no such organisation"
        try:
            body = json.loads(raw)
        except ValueError:
            return 400, "not JSON"
        unknown = set(body) - _ALLOWED
        if unknown:
            return 400, f"unknown fields {sorted(unknown)}"
        if not isinstance(body.get("model"), str) or not body.get("messages"):
            return 400, "model and messages are needed"
        for message in body["messages"]:
            if message.get("role") not in ("system", "user", "assistant"):
                return 400, f"bad role {message.get('role')!r}"
            if not isinstance(message.get("content"), str):
                return 400, "content must be a string"
        return None

    def _answer(self, body: dict[str, Any], reply: Reply) -> None:
        if reply.status != 200:
            error = {"message": "as the test wants it", "type": "error"}
            self._json(reply.status, {"error": error}, reply.headers)
        elif reply.garbage is not None:
            self._bytes(200, reply.garbage.encode(), {"Content-Type": "application/json"})
        elif body.get("logprobs") and reply.likely is None:
            self._json(400, {"error": {"message": "logprobs are not supported"}})
        elif body.get("stream"):
            self._stream(body, reply)
        else:
            self._whole(body, reply)

    def _whole(self, body: dict[str, Any], reply: Reply) -> None:
        if reply.holds_after is not None:
            self.state.go.wait(60)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": reply.text},
            "finish_reason": reply.finish,
        }
        if body.get("logprobs"):
            top = [{"token": t, "logprob": math.log(p)} for t, p in (reply.likely or {}).items()]
            choice["logprobs"] = {"content": [{"token": reply.text, "top_logprobs": top}]}
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        data = json.dumps(answer).encode()
        if reply.cut_after is None:
            self._bytes(200, data, {"Content-Type": "application/json"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: reply.cut_after])
        self.close_connection = True

    def _stream(self, body: dict[str, Any], reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = [reply.text[i : i + reply.piece] for i in range(0, len(reply.text), reply.piece)]
        for number, piece in enumerate(pieces):
            if reply.cut_after is not None and number >= reply.cut_after:
                self.close_connection = True
                return
            if number == reply.holds_after and not self.state.go.wait(60):
                self.close_connection = True
                return
            delta = {"content": piece}
            self._event(_chunk(body, {"role": "assistant", **delta} if number == 0 else delta))
            if reply.trickles:
                self.state.closed.wait(0.1)
        if reply.finish is not None:
            self._event(_chunk(body, {}, reply.finish))
        self._data("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, chunk: dict[str, Any]) -> None:
        self._data(json.dumps(chunk))

    def _data(self, text: str) -> None:
        data = f"data: {text}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        given = {"Content-Type": "application/json", **(headers or {})}
        self._bytes(status, json.dumps(body).encode(), given)

    def _bytes(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _chunk(
    body: dict[str, Any], delta: dict[str, Any], finish: str | None = None
) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
