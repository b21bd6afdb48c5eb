"""The parser process: reads and cuts one file after another, under limits; JSON lines.

`python -m rag_app.ingest.worker MEMORY_MB`, with requests on stdin and answers on stdout. A
parser that hangs, eats memory or crashes takes this process down and nothing else. The first
request with a `chunker` is how files are cut from then on.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag_app.ingest.chunk import Chunker
from rag_app.ingest.document import Limits, ParsedDocument, ParseFailure
from rag_app.ingest.formats import FORMATS, check_type

# What the parent waits longer than the alarm below is its own business; this is for orphans.
_GRACE_S = 5

# Share of the allowed address space from which on it is held to have run out.
_NEARLY_FULL = 0.7

Parser = Callable[..., ParsedDocument]


def _limit_memory(megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit; the time limit still holds
        return
    # Address space, not data: lxml and zlib also map memory that RLIMIT_DATA does not see.
    wanted = megabytes * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _peak() -> int:
    """Bytes of address space that this process has had at most; 0 where that is not known."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return 0
    found = re.search(r"^VmPeak:\s*(\d+) kB", status, re.M)
    return int(found[1]) * 1024 if found else 0


def _alarm(seconds: int) -> None:
    """Ends this process after so many seconds, in native code too, if the parent no longer can."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _parser(kind: str) -> Parser:
    for name in FORMATS[kind].libraries:
        importlib.import_module(name)
    parse: Parser = importlib.import_module(f"rag_app.ingest.{FORMATS[kind].parser}").parse
    return parse


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        if path.resolve() != path:  # a link has taken its place since it was found
            raise ParseFailure("unreadable", "it has become a link; ingest its folder again")
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as exc:
        raise ParseFailure("unreadable", f"cannot be read: {exc.strerror or exc}") from exc
    if len(data) > max_bytes:
        raise ParseFailure("too_large", f"larger than the allowed {max_bytes / 2**20:g} MB")
    return data


def _answer(request: dict[str, Any], parse: Parser, chunker: Chunker | None) -> dict[str, Any]:
    limits = Limits(**request["limits"])
    path = Path(request["path"])
    data = _read(path, limits.max_bytes)
    check_type(request["kind"], data)
    document = parse(data, stem=path.stem, limits=limits)
    if not document.blocks:
        raise ParseFailure("no_text", "nothing but front matter or blanks")
    if len(document.text) > limits.max_bytes:
        raise ParseFailure("too_large", f"more than {limits.max_bytes:,} characters of text")
    rows: list[list[Any]] = []
    if chunker is not None:
        most = limits.max_passages
        # A passage has ten characters a token at most, so these are too many before any is cut.
        fewest = len(document.text) // (10 * chunker.chunk_tokens)
        if fewest <= most:
            cut = chunker.chunks(
                document, document_id=request["document_id"], pipeline=request["pipeline"]
            )
            rows = [chunk.to_row() for chunk in cut]
        if max(fewest, len(rows)) > most:
            raise ParseFailure(
                "too_many_passages",
                f"more than {most:,} passages (max_passages); split the file",
            )
    return {
        **document.to_dict(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "chunks": rows,
    }


def main() -> int:
    """Answer requests until stdin closes."""
    # The answers get a channel of their own: libraries that print must not break the protocol.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        memory_mb = int(sys.argv[1])
        _limit_memory(memory_mb)
        sys.modules["numpy"] = None  # type: ignore[assignment] # openpyxl loads what it finds
        chunker: Chunker | None = None
        for line in sys.stdin:
            request = json.loads(line)
            if "chunker" in request:
                chunker = Chunker.of_setup(request["chunker"])
            parse = _parser(request["kind"])
            answers.write('{"begun": true}\n')
            answers.flush()
            _alarm(math.ceil(request["limits"]["timeout_s"]) + _GRACE_S)
            result: dict[str, Any]
            try:
                result = {"document": _answer(request, parse, chunker)}
            except ParseFailure as exc:
                result = {"reason": exc.reason, "detail": exc.detail}
            except RecursionError:
                result = {"reason": "broken", "detail": "nested too deeply for the parser"}
            except MemoryError:
                result = {"reason": "memory"}
            except Exception as exc:  # a defect of a parser is this file's misfortune
                detail = f"the parser failed: {type(exc).__name__}: {exc}"
                result = {"reason": "broken", "detail": detail}
            full = _peak() / (memory_mb * 2**20)
            if result.get("reason") == "broken" and full >= _NEARLY_FULL:
                # Native parsers that are refused memory call it a malformed file.
                result = {"reason": "memory"}
            if result.get("reason") == "memory":
                result["detail"] = f"parsing needs more than {memory_mb} MB (parse_memory_mb)"
            # A process that was this full is not trusted with the next file.
            last = result.get("reason") == "memory" or full >= _NEARLY_FULL
            result["last"] = last
            _alarm(0)
            answers.write(json.dumps(result) + "\n")
            answers.flush()
            if last:
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
