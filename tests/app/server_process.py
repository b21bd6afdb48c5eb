"""A server as `rankgate serve` runs it, with fakes; for tests that send it signals.

Usage: server_process.py FOLDER READY: prints its port, streams pieces while the file READY is
missing, and says at the end that it closed its folder.
"""

import sys
import time
from pathlib import Path

import ingest_files as files
import server_rig as rig

from rag_app.cli.serve import run_server
from rag_app.generate.answer import Answer


class Waiting:
    """Writes a piece at once and the last one when the file is there."""

    mode = "extractive"

    def __init__(self, ready):
        self.ready = ready

    def stream(self, question, context):
        yield "begun "
        while not self.ready.exists():
            time.sleep(0.02)
        yield "and finished"
        yield Answer(text="begun and finished", mode=self.mode, read=1)


def main(folder, ready):
    import socket

    settings, hub = rig.make(folder, files, generator=Waiting(ready), request_timeout_s=30)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        sys.stdout.write(f"{bound.getsockname()[1]}\n")
        sys.stdout.flush()
        with hub:
            run_server(settings, hub, bound)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    finally:
        sys.stdout.write("closed\n")
