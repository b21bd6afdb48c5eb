"""A small OpenAI-compatible server on 127.0.0.1 whose answers are scripted; used by the examples.

It stands where your own model's address would: ChatOpenAI(base_url=..., api_key=...).
"""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def tool_call(name, **arguments):
    """What a model says that wants a tool to be called."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"id": "call-1", "type": "function", "function": function}]}


@contextlib.contextmanager
def serving(answer):
    """Serve `answer(messages)`, a string, a list of pieces, or `tool_call(...)`; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format, *args):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = answer(body["messages"])
            if isinstance(said, str):
                said = [said]
            if body.get("stream"):
                self.stream(body, said)
            else:
                self.whole(body, said)

        def whole(self, body, said):
            calls = said.get("tool_calls") if isinstance(said, dict) else None
            message = {"role": "assistant", "content": None if calls else "".join(said)}
            if calls:
                message["tool_calls"] = calls
            reason = "tool_calls" if calls else "stop"
            choice = {"index": 0, "message": message, "finish_reason": reason}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            self.send(200, {**frame(body, "chat.completion"), "choices": [choice], "usage": usage})

        def stream(self, body, pieces):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            deltas = [{"role": "assistant", "content": ""}, *({"content": p} for p in pieces)]
            for delta in deltas:
                self.event(body, delta, None)
            self.event(body, {}, "stop")
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

        def event(self, body, delta, reason):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            data = {**frame(body, "chat.completion.chunk"), "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()

        def send(self, status, data):
            raw = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    def frame(body, kind):
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": body["model"]}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
