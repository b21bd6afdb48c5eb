"""Recall of the first stage by depth, with the depths that matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from rankgate_eval.report.charts.plot import Plot, ticks
from rankgate_eval.report.numbers import interval, score
from rankgate_eval.result.parts import CurvePoint

_TOP = 56.0
_BOTTOM = 276.0
_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def recall_curve(
    points: Sequence[CurvePoint], *, ident: str, marks: Sequence[tuple[str, int]]
) -> Markup:
    """The curve on a logarithmic depth.

    Args:
        points: by rising depth, one at least.
        ident: unique in the document.
        marks: words and depth of the vertical lines, such as ("keeps 5", 5).
    """
    deepest = points[-1].depth
    lowest = min(p.recall if p.ci is None else p.ci[0] for p in points)
    low = max(0.0, math.floor((lowest - 0.02) * 10.0) / 10.0)
    shallow = math.log(points[0].depth)
    span = math.log(deepest) - shallow

    def across(depth: int) -> float:
        return 1.0 if span <= 0.0 else min(max((math.log(depth) - shallow) / span, 0.0), 1.0)

    def down(recall: float) -> float:
        return _BOTTOM - (recall - low) / (1.0 - low) * (_BOTTOM - _TOP) if low < 1.0 else _TOP

    plot = Plot(
        ident=ident,
        height=_BOTTOM + 40.0,
        title="Recall of the first stage by depth",
        description="; ".join(
            f"recall@{p.depth} {score(p.recall)} ({interval(p.ci)})" for p in points
        ),
    )
    for value in ticks(low, 1.0, about=6):
        plot.line(0.0, down(value), 1.0, down(value), "grid")
        plot.text(0.0, down(value) + 4.0, f"{value:.1f}", anchor="end", dx=-8.0, kind="tick")
    for depth in _SHOWN:
        if points[0].depth <= depth <= deepest:
            plot.text(across(depth), _BOTTOM + 18.0, str(depth), anchor="middle", kind="tick")
    plot.text(1.0, _BOTTOM + 36.0, "depth, passages (log scale)", anchor="end", kind="tick")
    # Labels on alternating heights, in order of depth: neighbours never stand on one another.
    for i, (words, depth) in enumerate(sorted(marks, key=lambda m: m[1])):
        x, y = across(depth), 12.0 + 17.0 * (i % 3)
        plot.line(x, y + 5.0, x, _BOTTOM, "reference")
        plot.text(
            x,
            y,
            words,
            anchor="end" if x > 0.7 else "start",
            dx=4.0 if x > 0.7 else -4.0,
            kind="label strong",
        )
    for p in points:
        if p.ci is not None:
            plot.line(
                across(p.depth), down(p.ci[0]), across(p.depth), down(p.ci[1]), "whisker thin"
            )
    plot.polyline([(across(p.depth), down(p.recall)) for p in points], "curve")
    if len(points) <= 16:
        for p in points:
            plot.mark(across(p.depth), down(p.recall), "ring", "strong")
    return plot.render()
