"""Means with their intervals, one row an arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rankgate_eval.report.charts.plot import Plot, bounds, ticks
from rankgate_eval.report.numbers import interval, score

_ROW = 50.0
_AXIS = 26.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRow:
    """A row: its name, its mean, its interval; the row in question is `strong`."""

    label: str
    mean: float
    ci: tuple[float, float] | None
    strong: bool = False
    baseline: bool = False


def interval_plot(rows: Sequence[IntervalRow], *, ident: str, metric: str) -> Markup:
    """A dot and an interval a row; the baseline's mean is carried through as a dashed line."""
    values = [v for r in rows for v in (r.mean, *(r.ci if r.ci is not None else ()))]
    low, high = bounds(values, least=0.04)
    low, high = (max(low, 0.0), min(high, 1.0)) if high > low else (0.0, 1.0)
    if not high > low:
        low, high = 0.0, 1.0
    plot = Plot(
        ident=ident,
        height=_ROW * len(rows) + _AXIS,
        title=f"{metric} by arm",
        description="; ".join(f"{r.label}: {score(r.mean)} ({interval(r.ci)})" for r in rows),
    )

    def across(value: float) -> float:
        return (value - low) / (high - low)

    floor = _ROW * len(rows) + 2.0
    for value in ticks(low, high, about=4):
        plot.line(across(value), 6.0, across(value), floor, "grid")
        plot.text(across(value), floor + 16.0, f"{value:.2f}", anchor="middle", kind="tick")
    for row in rows:
        if row.baseline:
            plot.line(across(row.mean), 6.0, across(row.mean), floor, "reference")
    for i, row in enumerate(rows):
        y = _ROW * i + 34.0
        weight = "strong" if row.strong else "quiet"
        plot.text(0.0, y - 14.0, row.label, kind=f"label {weight} halo")
        plot.text(1.0, y - 14.0, score(row.mean), anchor="end", kind=f"value {weight} halo")
        if row.ci is not None:
            plot.line(across(row.ci[0]), y, across(row.ci[1]), y, f"whisker {weight}")
        plot.mark(across(row.mean), y, "dot" if row.strong else "ring", weight)
    return plot.render()
