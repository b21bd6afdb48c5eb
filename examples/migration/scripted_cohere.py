"""A server on 127.0.0.1 that speaks Cohere's /v2/rerank; used by the migration example."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rankgate.testing import word_overlap


@contextlib.contextmanager
def serving():
    """Serve scores by word overlap; yields the URL, and the list of the models asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format, *args):
            pass

        def do_POST(self):
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/v2/rerank" or self.headers["Authorization"] != "Bearer secret":
                self.send(404 if self.path != "/v2/rerank" else 401, {"message": "no"})
                return
            body = json.loads(raw)
            asked.append(body["model"])
            rows = [
                {"index": i, "relevance_score": word_overlap(body["query"], text)}
                for i, text in enumerate(body["documents"])
            ]
            rows.sort(key=lambda row: -row["relevance_score"])
            units = {"billed_units": {"search_units": 1}}
            count = body.get("top_n") or len(rows)
            self.send(200, {"id": "1", "results": rows[:count], "meta": units})

        def send(self, status, data):
            raw = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            # So that nobody is served over an old connection once the server is closed.
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(raw)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
