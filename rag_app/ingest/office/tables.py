"""Rows as text: a table of Markdown, or a line a row with the names of its columns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

_YEAR = re.compile(r"(?:19|20)\d\d")


def pipe_table(rows: Sequence[list[str]]) -> str:
    """Rows as a table of Markdown; the first one has the names of the columns."""
    width = max(map(len, rows), default=0)
    whole = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in whole]
    return "\n".join([*lines[:1], f"|{'---|' * width}", *lines[1:]]) if lines else ""


def named_rows(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A line a row: `- Region: North; Revenue: 12`."""
    named = [f"{name}: " if name else "" for name in names]
    return "\n".join(
        "- " + "; ".join(f"{n}{c}" for n, c in itertools.zip_longest(named, row, fillvalue="") if c)
        for row in rows
    )


def is_caption(row: Sequence[str], below: Sequence[str] = ()) -> bool:
    """Whether it is one cell, no further right than what comes below."""
    filled = [i for i, cell in enumerate(row) if cell]
    first = next((i for i, cell in enumerate(below) if cell), len(row))
    return len(filled) == 1 and filled[0] <= first


def are_names(row: Sequence[str]) -> bool:
    """Whether a first row names the columns: words, or years one after another."""
    years = [int(cell) for cell in row if _YEAR.fullmatch(cell)]
    steps = {b - a for a, b in itertools.pairwise(years)}
    others = [cell for cell in row[1:] if not _YEAR.fullmatch(cell)]
    return (
        all(any(map(str.isalpha, cell)) for cell in others)
        and (not row[0] or any(map(str.isalpha, row[0])))
        and not row[0].endswith(":")
        and (not years or steps in ({1}, {-1}) or not row[0])
    )
