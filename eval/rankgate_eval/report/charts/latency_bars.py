"""Latency of each arm: median, 95th and 99th percentile on one line, with the budget."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rankgate_eval.report.charts.plot import Plot, ticks
from rankgate_eval.report.numbers import milliseconds
from rankgate_eval.result.parts import LatencyResult

_ROW = 50.0


def latency_bars(
    rows: Sequence[tuple[str, LatencyResult, bool]], *, ident: str, budget_ms: float | None
) -> Markup:
    """A bar to the p50, thinner ones to the p95 and the p99.

    Args:
        rows: name, latencies, and whether it is the row in question.
        ident: unique in the document.
        budget_ms: None: none was given.
    """
    ends = [v for _, t, _ in rows for v in (t.p50, t.p95, t.p99, t.mean) if v is not None]
    most = max([*ends, *([] if budget_ms is None else [budget_ms])], default=1.0) * 1.04
    most = most if most > 0.0 else 1.0
    head = 0.0 if budget_ms is None else 20.0
    floor = head + _ROW * len(rows) + 4.0
    plot = Plot(
        ident=ident,
        height=floor + 24.0,
        title="Latency by arm",
        description="; ".join(
            f"{name}: p50 {milliseconds(t.p50)}, p95 {milliseconds(t.p95)}, "
            f"p99 {milliseconds(t.p99)}"
            for name, t, _ in rows
        ),
    )
    for value in ticks(0.0, most, about=4):
        plot.line(value / most, head + 4.0, value / most, floor, "grid")
        plot.text(value / most, floor + 16.0, f"{value:g}", anchor="middle", kind="tick")
    if budget_ms is not None:
        x = budget_ms / most
        plot.line(x, 16.0, x, floor, "reference")
        plot.text(
            x,
            12.0,
            f"budget {milliseconds(budget_ms)}",
            anchor="end" if x > 0.5 else "start",
            dx=4.0 if x > 0.5 else -4.0,
            kind="label strong",
        )
    for i, (name, t, strong) in enumerate(rows):
        y, weight = head + _ROW * i + 34.0, "strong" if strong else "quiet"
        plot.text(0.0, y - 14.0, name, kind=f"label {weight} halo")
        seen = t.p95 if t.p95 is not None else t.p50
        which = "p95" if t.p95 is not None else "p50" if t.p50 is not None else "mean"
        words = f"{which} {milliseconds(seen if seen is not None else t.mean)}"
        plot.text(1.0, y - 14.0, words, anchor="end", kind=f"value {weight} halo")
        for end, height, part in ((t.p99, 2.0, "p99"), (t.p95, 6.0, "p95"), (t.p50, 14.0, "p50")):
            if end is not None:
                plot.box(0.0, y - height / 2.0, end / most, height, f"bar {part} {weight}")
        if t.p50 is None:
            plot.mark(t.mean / most, y, "ring", weight)
    return plot.render()
