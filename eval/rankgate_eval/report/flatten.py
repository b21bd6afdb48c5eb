"""Nested plain data as rows: the provenance of a policy, whose shape is its writer's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def flatten(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """`a.b.c` and its value for every leaf, in the order given; a list of leaves is one row."""
    return tuple(_rows(data, ""))


def _rows(value: Any, name: str) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [
            row for k, v in value.items() for row in _rows(v, f"{name}.{k}" if name else str(k))
        ]
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(v, Mapping | list | tuple) for v in value):
            return [row for i, v in enumerate(value) for row in _rows(v, f"{name}[{i}]")]
        return [(name, ", ".join(_leaf(v) for v in value))]
    return [(name, "" if isinstance(value, Mapping) else _leaf(value))] if name else []


def _leaf(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
