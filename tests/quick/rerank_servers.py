"""Strict rerank servers on 127.0.0.1, one for each dialect, that can misbehave on demand.

Written from the servers' documentation and not from the client, so that an error in the client
is not repeated here. Results come back sorted by score, as the real ones do it.
"""

import contextlib
import json
import math
import re
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from waiting import Clock


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a server accepts: the fields with their types, and which of them must be there."""

    path: str
    fields: dict
    required: frozenset
    texts: str = "documents"
    query: str = "query"
    limit: int = 1000
    over: int = 422
    blank: bool = True


_OWN = {"model": str, "query": str, "documents": list, "top_n": int, "return_documents": bool}
_NEEDS = frozenset({"model", "query", "documents"})
RULES = {
    "cohere": Rules(
        path="/v2/rerank",
        fields={
            "model": str,
            "query": str,
            "documents": list,
            "top_n": int,
            "max_tokens_per_doc": int,
        },
        required=_NEEDS,
        blank=False,
    ),
    "jina": Rules(path="/v1/rerank", fields=_OWN, required=_NEEDS, blank=False),
    "voyage": Rules(
        path="/v1/rerank",
        fields={"model": str, "query": str, "documents": list, "top_k": int},
        required=_NEEDS,
        blank=False,
    ),
    "tei": Rules(
        path="/rerank",
        fields={"query": str, "texts": list, "truncate": bool, "raw_scores": bool},
        required=frozenset({"query", "texts"}),
        texts="texts",
        limit=32,
        over=413,
    ),
    "infinity": Rules(path="/rerank", fields=_OWN, required=_NEEDS),
    "vllm-rerank": Rules(path="/v1/rerank", fields=_OWN, required=_NEEDS),
    "llama.cpp": Rules(path="/v1/rerank", fields=_OWN, required=_NEEDS),
    "vllm-score": Rules(
        path="/score",
        fields={"model": str, "queries": str, "documents": list},
        required=frozenset({"model", "queries", "documents"}),
        query="queries",
    ),
}
MODEL = "tiny-reranker"


def logit(query, text):
    """What the pretended model says: grows with the words in common, falls with the length."""
    words = set(re.findall(r"\w+", query.lower()))
    common = len(words & set(re.findall(r"\w+", text.lower())))
    return 2.0 * common - 1.0 + 1.0 / (1.0 + len(text))


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One misbehaviour: `kind` names it, the rest is what it needs.

    "held" waits for `RerankServer.let`; `seconds` pass on the server's clock, whatever the kind.
    """

    kind: str
    status: int = 200
    headers: dict = field(default_factory=dict)
    body: bytes = b'{"message": "no"}'
    seconds: float = 0.0


@dataclass(kw_only=True)
class Seen:
    path: str
    headers: dict
    body: dict
    raw: bytes
    at: float


class RerankServer:
    """A running server; `faults` are used up one a request, then it behaves.

    `clock` stands still but for what a fault says.
    """

    def __init__(self, dialect, *, limit=None, over=None, key=None):
        rules = RULES[dialect]
        self.dialect, self.rules, self.key = dialect, rules, key
        self.limit = rules.limit if limit is None else limit
        self.over = rules.over if over is None else over
        self.faults = deque()
        self.requests = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.clock = Clock()
        self.may, self.closed = threading.Semaphore(0), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def do_POST(self):
                outer.handle(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # a client that hung up after its timeout

        self.http = Server(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()

    def let(self, count=1):
        """So many of those that are held go on."""
        for _ in range(count):
            self.may.release()

    def hold(self):
        """Until somebody lets it go on, or the server closes."""
        for _ in range(6000):
            if self.closed.is_set() or self.may.acquire(timeout=0.01):
                return

    def close(self):
        self.closed.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def handle(self, call):
        raw = call.rfile.read(int(call.headers["Content-Length"]))
        body = json.loads(raw)
        with self.lock:
            seen = Seen(
                path=call.path,
                headers={k.lower(): v for k, v in call.headers.items()},
                body=body,
                raw=raw,
                at=time.monotonic(),
            )
            self.requests.append(seen)
            fault = self.faults.popleft() if self.faults else None
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.answer(call, seen, fault)
        finally:
            with self.lock:
                self.in_flight -= 1

    def answer(self, call, seen, fault):
        kind = None if fault is None else fault.kind
        if fault is not None:
            self.clock.advance(fault.seconds)
        if kind == "held":
            self.hold()
        if kind == "status":
            return self.send(call, fault.status, fault.body, fault.headers)
        if kind == "reset":
            linger = struct.pack("ii", 1, 0)
            call.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            call.close_connection = True
            return call.connection.close()
        status, payload = self.judge(seen)
        if status != 200:
            return self.send(call, status, json.dumps(payload).encode())
        rows = payload if isinstance(payload, list) else payload.get("results", payload.get("data"))
        score = "score" if "score" in rows[0] else "relevance_score"
        if kind == "out_of_range":
            rows[0]["index"] = len(rows)
        elif kind == "negative_index":
            rows[0]["index"] = -1
        elif kind == "duplicate":
            rows.append(dict(rows[0]))
        elif kind == "doubled":
            rows[0]["index"] = rows[-1]["index"]
        elif kind == "missing":
            del rows[-1]
        elif kind == "text_index":
            rows[0]["index"] = str(rows[0]["index"])
        elif kind == "true_index":
            rows[0]["index"] = True
        elif kind in ("nan", "inf"):
            rows[0][score] = float(kind)
        elif kind == "huge":
            rows[0][score] = 1e39
        elif kind == "text_score":
            rows[0][score] = "0.5"
        elif kind == "null_score":
            rows[0][score] = None
        data = json.dumps(payload).encode()
        if kind == "truncated":
            data = data[: len(data) // 2]
        elif kind == "html":
            return self.send(call, 200, b"<html>Welcome</html>", {"Content-Type": "text/html"})
        elif kind == "plain":
            return self.send(call, 200, data, {"Content-Type": "text/plain"})
        elif kind == "other_shape":
            data = b'{"ok": true}'
        elif kind == "short_body":
            call.send_response(200)
            call.send_header("Content-Length", str(len(data) + 50))
            call.end_headers()
            call.wfile.write(data)
            call.close_connection = True
            return None
        elif kind == "trickle":
            call.send_response(200)
            call.send_header("Content-Length", str(len(data) + 400))
            call.end_headers()
            with contextlib.suppress(OSError):
                # Blanks before the JSON, for as long as somebody reads them.
                for _ in range(400):
                    if self.closed.wait(0.05):
                        break
                    call.wfile.write(b" ")
            call.close_connection = True
            return None
        return self.send(call, 200, data)

    def send(self, call, status, data, headers=None):
        call.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            call.send_header(name, value)
        call.send_header("Content-Length", str(len(data)))
        call.end_headers()
        call.wfile.write(data)

    def judge(self, seen):
        """Status and payload by the dialect's rules."""
        rules, body = self.rules, seen.body
        if seen.path != rules.path:
            return 404, {"message": f"no such path {seen.path}"}
        if self.key is not None and seen.headers.get("authorization") != f"Bearer {self.key}":
            got = seen.headers.get("authorization", "")
            return 401, {"message": f"invalid key {got}"}
        for name, value in body.items():
            kind = rules.fields.get(name)
            if kind is None:
                return 422, {"message": f"unknown field {name}"}
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                return 422, {"message": f"{name} has the wrong type"}
        absent = rules.required - set(body)
        if absent:
            return 422, {"message": f"{min(absent)} is required"}
        if "model" in rules.fields and body["model"] != MODEL:
            return 404, {"message": f"model {body['model']} not found"}
        texts, query = body[rules.texts], body[rules.query]
        if not texts or not all(isinstance(t, str) for t in texts):
            return 422, {"message": f"{rules.texts} must be a list of strings"}
        if len(texts) > self.limit:
            return self.over, {"error": f"batch size {len(texts)} > {self.limit}"}
        if not rules.blank and not all(t.strip() for t in (*texts, query)):
            return 400, {"message": "documents must not be blank"}
        return 200, self.payload(query, texts, body)

    def payload(self, query, texts, body):
        order = sorted(range(len(texts)), key=lambda i: -logit(query, texts[i]))
        top = body.get("top_n", body.get("top_k", len(texts)))
        raw = {i: logit(query, texts[i]) for i in order[:top]}
        tokens = sum(len(t.split()) + 1 for t in texts)
        usage = {"total_tokens": tokens, "prompt_tokens": tokens}
        if self.dialect == "tei":
            wanted = body.get("raw_scores", False)
            return [{"index": i, "score": x if wanted else sigmoid(x)} for i, x in raw.items()]
        if self.dialect == "vllm-score":
            data = [{"index": i, "object": "score", "score": sigmoid(x)} for i, x in raw.items()]
            return {"id": "s", "object": "list", "model": MODEL, "data": data, "usage": usage}
        scale = (lambda x: x) if self.dialect == "llama.cpp" else sigmoid
        rows = [{"index": i, "relevance_score": scale(x)} for i, x in raw.items()]
        if self.dialect == "cohere":
            billed = {"search_units": math.ceil(len(texts) / 100)}
            return {"id": "x", "results": rows, "meta": {"billed_units": billed}}
        if self.dialect == "voyage":
            return {"object": "list", "data": rows, "model": MODEL, "usage": usage}
        forms = [lambda t: t, lambda t: {"text": t}, lambda t: None]
        for place, row in enumerate(rows):  # a string, an object, null, or absent
            if place % 4 < 3:
                row["document"] = forms[place % 4](texts[row["index"]])
        return {"model": MODEL, "object": "list", "results": rows, "usage": usage}


def expected(dialect, query, texts, *, raw=False):
    """The scores that a server of this dialect gives, in input order."""
    logits = [logit(query, t) for t in texts]
    if dialect == "llama.cpp" or (dialect == "tei" and raw):
        return logits
    return [sigmoid(x) for x in logits]


@contextlib.contextmanager
def serving(dialect, **settings):
    """A running server, closed at the end."""
    server = RerankServer(dialect, **settings)
    try:
        yield server
    finally:
        server.close()
