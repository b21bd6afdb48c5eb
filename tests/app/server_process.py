"""A server as `rankgate serve` runs it, with fakes; for tests that send it signals.

Usage: server_process.py FOLDER [quoting]: prints its port, writes the last piece of an answer once
it is told a line (`quoting`: answers at once, from the documents), and says at the end that it
closed its folder.
"""

import sys
from pathlib import Path

import ingest_files as files
import server_rig as rig

from rag_app.cli.serve import run_server
from rag_app.generate.answer import Answer


class Waiting:
    """Writes a piece at once and the last one when it is told a line."""

    mode = "extractive"

    def stream(self, question, context):
        yield "begun "
        sys.stdin.readline()
        yield "and finished"
        yield Answer(text="begun and finished", mode=self.mode, read=1)


def main(folder, generator):
    import socket

    settings, opened = rig.make(folder, files, generator=generator, request_timeout_s=30)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        sys.stdout.write(f"{bound.getsockname()[1]}\n")
        sys.stdout.flush()
        with opened:
            run_server(settings, opened, bound)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), None if sys.argv[2:] else Waiting())
    finally:
        sys.stdout.write("closed\n")
