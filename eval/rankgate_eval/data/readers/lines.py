"""Lines and JSON objects of a file, plain or gzipped; what cannot be read becomes a finding."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankgate_eval.data.raw import RawDataset
from rankgate_eval.finding import Place

_BOM = b"\xef\xbb\xbf"


def present(root: Path, *names: str) -> Path | None:
    """The first of these files that exists."""
    return next((root / name for name in names if (root / name).is_file()), None)


def numbered_lines(file: Path, raw: RawDataset) -> Iterator[tuple[Place, str]]:
    """Every line that is not blank, with its place; a byte order mark is left out.

    A line that is not UTF-8 becomes an error, and reading goes on. A file that cannot be
    opened or whose compression is damaged becomes an error, and reading ends.
    """
    opener = gzip.open if file.suffix == ".gz" else open
    line = 0
    try:
        with opener(file, "rb") as stream:
            for line, data in enumerate(stream, start=1):
                place = Place(file=str(file), line=line)
                try:
                    text = data.removeprefix(_BOM if line == 1 else b"").decode("utf-8")
                except UnicodeDecodeError as exc:
                    raw.error("unreadable", f"not UTF-8: {exc}. Save the file as UTF-8.", place)
                    continue
                if text.strip():
                    yield place, text.rstrip("\r\n")
    except FileNotFoundError:
        raw.error("missing_file", "no such file", Place(file=str(file)))
    except (OSError, EOFError, zlib.error) as exc:  # gzip raises all three
        where = Place(file=str(file), line=line + 1 if line else None)
        raw.error("unreadable", f"cannot be read: {exc}", where)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def json_objects(file: Path, raw: RawDataset) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The JSON object of each line; a line that holds none becomes an error."""
    for place, text in numbered_lines(file, raw):
        try:
            row = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as exc:
            raw.error("unreadable", f"not a JSON object: {exc}", place)
            continue
        if not isinstance(row, dict):
            raw.error("wrong_type", f"expected a JSON object, got {type(row).__name__}", place)
            continue
        yield place, row


def identifier(value: Any) -> str | None:
    """A string or whole number as an id; None where it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None
