"""Where relevant passages stood and where they stand now."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from rankgate_eval.report.charts.plot import Plot

Step = tuple[int | None, int | None]
"""Rank before and after, from 1; None where the list lacks the passage."""
_TOP = 40.0
_BOTTOM = 372.0
_ABSENT = 404.0
_SHOWN = (1, 2, 3, 5, 10, 20, 50, 100, 200)


def slope_chart(
    *,
    ident: str,
    inversions: Sequence[Step],
    lifts: Sequence[Step],
    top_n: int,
    before: str,
    after: str,
) -> Markup:
    """One line a passage; equal ones lie on each other and grow wider.

    Inversions end in a square on a dashed line, lifts in a triangle on a full one: colour alone
    tells nothing.

    Args:
        ident: unique in the document.
        inversions: ranks of passages that left the top.
        lifts: of passages that came into it.
        before: name of the arm on the left.
        after: of the arm on the right.
    """
    ranks = [r for step in (*inversions, *lifts) for r in step if r is not None]
    deepest = max([*ranks, top_n + 1, 10])
    absent = any(r is None for step in (*inversions, *lifts) for r in step)

    def down(rank: float | None) -> float:
        if rank is None:
            return _ABSENT
        return _TOP + math.log(rank) / math.log(deepest) * (_BOTTOM - _TOP)

    plot = Plot(
        ident=ident,
        height=(_ABSENT if absent else _BOTTOM) + 16.0,
        title=f"Ranks of relevant passages: {before}, then {after}",
        description=f"{len(lifts)} came into the first {top_n}, {len(inversions)} left them.",
    )
    plot.text(0.0, 14.0, before, kind="label strong")
    plot.text(1.0, 14.0, after, anchor="end", kind="label strong")
    edge = down(top_n + 0.5)
    plot.box(0.0, _TOP - 12.0, 1.0, edge - _TOP + 12.0, "inside")
    plot.line(0.0, edge, 1.0, edge, "reference")
    for rank in _SHOWN:
        if rank <= deepest:
            for x, anchor, dx in ((0.0, "end", -10.0), (1.0, "start", 10.0)):
                plot.text(x, down(rank) + 4.0, str(rank), anchor=anchor, dx=dx, kind="tick")
    if absent:
        plot.text(0.5, _ABSENT + 4.0, "below: not in the list", anchor="middle", kind="tick")
        for x, anchor, dx in ((0.0, "end", -10.0), (1.0, "start", 10.0)):
            plot.text(x, _ABSENT + 4.0, "none", anchor=anchor, dx=dx, kind="tick")
    plot.line(0.0, _TOP, 0.0, _BOTTOM, "axis")
    plot.line(1.0, _TOP, 1.0, _BOTTOM, "axis")
    for steps, shape, kind in ((lifts, "up", "gain"), (inversions, "square", "loss")):
        # Sorted, and None last: the drawing does not hang on the order of the queries.
        for (old, new), times in sorted(Counter(steps).items(), key=_order):
            width = min(1 + int(math.log2(times)), 5)
            plot.line(0.0, down(old), 1.0, down(new), f"slope {kind} w{width}")
            plot.mark(0.0, down(old), shape, kind)
            plot.mark(1.0, down(new), shape, kind)
    plot.text(0.5, edge + 14.0, f"top {top_n} ends here", anchor="middle", kind="tick halo")
    return plot.render()


def _order(item: tuple[Step, int]) -> tuple[int, float, float]:
    (old, new), times = item
    return times, math.inf if old is None else old, math.inf if new is None else new
