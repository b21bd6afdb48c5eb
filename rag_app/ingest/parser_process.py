"""The parent's side of the parser process: asks, waits, kills, starts again."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import rag_app
from rag_app.errors import ParseError
from rag_app.index.records import Chunk
from rag_app.ingest.chunk import Chunker
from rag_app.ingest.document import Limits, ParsedDocument

_START_S = 60.0
# Of the environment, what Python, shared libraries, locale and OCR need.
_KEPT = (
    *("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONUTF8", "PYTHONPATH", "TESSDATA_PREFIX"),
)


class ParserProcess:
    """Parses files in a process of its own, which is reused until it misbehaves.

    A context manager; not thread-safe.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.restarts = 0
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._complaints: IO[str] | None = None
        self._chunker: Chunker | None = None  # that the process has

    def __enter__(self) -> ParserProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def parse(self, path: Path, kind: str) -> ParsedDocument:
        """Read one file.

        Args:
            kind: one of `formats.FORMATS`.

        Raises:
            ParseError: for whatever reason it cannot be read; the next file can be tried.
        """
        return ParsedDocument.from_dict(self._asked(path, {"kind": kind}))

    def cut(
        self, path: Path, kind: str, chunker: Chunker, *, document_id: str, pipeline: str
    ) -> tuple[ParsedDocument, list[Chunk]]:
        """Read one file and cut it, under one limit; as `Chunker.chunks`.

        Raises:
            ParseError: as `parse`; also for too many passages.
        """
        request = {"kind": kind, "document_id": document_id, "pipeline": pipeline}
        found = self._asked(path, request, chunker)
        document = ParsedDocument.from_dict(found)
        return document, Chunk.of_rows(found["chunks"], document_id=document_id, text=document.text)

    def _asked(
        self, path: Path, request: dict[str, Any], chunker: Chunker | None = None
    ) -> dict[str, Any]:
        process = self._running()
        request |= {"path": str(path), "limits": asdict(self.limits)}
        if chunker is not None and chunker is not self._chunker:
            request["chunker"] = chunker.setup()
            self._chunker = chunker
        try:
            if process.stdin is None:
                raise BrokenPipeError("no channel to the parser process")
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except OSError as exc:
            raise self._fallen(path) from exc
        # Loading a parser's libraries is not the file's fault, so it has a clock of its own.
        self._receive(path, _START_S, "the parser did not start")
        seconds = f"{self.limits.timeout_s:g} s (parse_timeout_s)"
        answer = self._receive(path, self.limits.timeout_s, f"parsing took longer than {seconds}")
        if answer["last"]:
            self._kill()
        if "document" in answer:
            document: dict[str, Any] = answer["document"]
            return document
        raise ParseError(answer["reason"], answer["detail"])

    def close(self) -> None:
        """End the process; closing twice does nothing."""
        self._kill()

    def _running(self) -> subprocess.Popen[str]:
        process = self._process
        if process is not None and process.poll() is None:
            return process
        if process is not None:
            self._kill()
        # The process finds this package wherever the parent found it.
        home = str(Path(rag_app.__file__).resolve().parent.parent)
        paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        # No key of an LLM, a cloud or a database: it reads what strangers have written.
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment["TOKENIZERS_PARALLELISM"] = "false"  # threads take address space
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        started = subprocess.Popen(
            [sys.executable, "-m", "rag_app.ingest.worker", str(self.limits.memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=environment,
            encoding="utf-8",
        )
        self._process, self._lines = started, queue.Queue()
        threading.Thread(
            target=_pump, args=(started.stdout, self._lines), name="rankgate-parser", daemon=True
        ).start()
        return started

    def _receive(self, path: Path, seconds: float, late: str) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self._kill()
            raise ParseError("timeout", late) from None
        if line is None:
            raise self._fallen(path)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fallen(self, path: Path) -> ParseError:
        """The process is gone: what it said last, as this file's error."""
        code = self._process.wait() if self._process is not None else None
        said = ""
        if self._complaints is not None:
            self._complaints.seek(0)
            said = self._complaints.read()[-2000:].strip()
        self._kill()
        last = said.splitlines()[-1][:200] if said else "no message"
        # Native code that is refused memory aborts or crashes instead of raising.
        if "MemoryError" in said or "bad_alloc" in said or "out of memory" in said.lower():
            return ParseError(
                "memory",
                f"parsing needs more than {self.limits.memory_mb} MB (parse_memory_mb)",
            )
        return ParseError("crashed", f"the parser ended with code {code} on {path.name}: {last}")

    def _kill(self) -> None:
        process, self._process, self._chunker = self._process, None, None
        if process is not None:
            self.restarts += 1
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            process.kill()
            process.wait()
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None


def _pump(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    """Moves the answers to where they can be waited for; ends with the process."""
    if stream is not None:
        with stream:
            for line in stream:
                lines.put(line)
    lines.put(None)
