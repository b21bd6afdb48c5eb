"""What skipping the second stage costs, by how often it is skipped."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rankgate_eval.report.charts.plot import Plot, bounds, ticks
from rankgate_eval.report.numbers import percent, signed, signed_interval
from rankgate_eval.result.parts import FrontierPoint

_TOP = 14.0
_BOTTOM = 250.0


def gate_frontier(points: Sequence[FrontierPoint], chosen: FrontierPoint, *, ident: str) -> Markup:
    """Loss of nDCG@10 by skip rate, upwards is worse; the policy's own point is a diamond."""
    everything = [*points, chosen]
    values = [v for p in everything for v in (p.loss, *(p.ci if p.ci is not None else ()))]
    low, high = bounds([0.0, *values], least=0.01)
    plot = Plot(
        ident=ident,
        height=_BOTTOM + 40.0,
        title="Loss of nDCG@10 by share of queries that skip the second stage",
        description=f"The policy skips {percent(chosen.skip_rate)} at a loss of "
        f"{signed(chosen.loss)} ({signed_interval(chosen.ci)}). "
        + "; ".join(f"{percent(p.skip_rate)}: {signed(p.loss)}" for p in points),
    )

    def down(loss: float) -> float:
        return _BOTTOM - (loss - low) / (high - low) * (_BOTTOM - _TOP)

    for value in ticks(low, high, about=6):
        plot.line(0.0, down(value), 1.0, down(value), "zero" if value == 0.0 else "grid")
        words = "0" if value == 0.0 else f"{value:+.3f}".rstrip("0").replace("-", "\N{MINUS SIGN}")
        plot.text(0.0, down(value) + 4.0, words, anchor="end", dx=-8.0, kind="tick")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        plot.text(share, _BOTTOM + 18.0, percent(share, digits=0), anchor="middle", kind="tick")
    plot.text(1.0, _BOTTOM + 36.0, "queries skipped", anchor="end", kind="tick")
    for p in points:
        if p.ci is not None:
            plot.line(p.skip_rate, down(p.ci[0]), p.skip_rate, down(p.ci[1]), "whisker thin")
    plot.polyline([(p.skip_rate, down(p.loss)) for p in points], "curve quiet")
    if len(points) <= 30:
        for p in points:
            plot.mark(p.skip_rate, down(p.loss), "ring", "quiet")
    x, y = chosen.skip_rate, down(chosen.loss)
    plot.line(x, _TOP, x, _BOTTOM, "reference")
    plot.mark(x, y, "diamond", "strong")
    right = x > 0.6
    plot.text(
        x,
        _TOP + 6.0,
        f"this policy: skips {percent(x)}, loss {signed(chosen.loss)}",
        anchor="end" if right else "start",
        dx=-8.0 if right else 8.0,
        kind="label strong halo",
    )
    return plot.render()
