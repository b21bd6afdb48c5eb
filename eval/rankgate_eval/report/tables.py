"""Tables and lists of Markdown; what stands in their cells is escaped by whoever fills them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rankgate_eval.report.numbers import NOT_MEASURED


def bullets(lines: Iterable[str]) -> str:
    """One line a bullet."""
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Head and rows; without rows, that nothing was measured."""
    if not rows:
        return f"{NOT_MEASURED.capitalize()}."
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
