"""What a probability said against how often it came true."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rankgate_eval.report.charts.plot import Plot
from rankgate_eval.report.numbers import score
from rankgate_eval.result.parts import ReliabilityBin

_TOP = 10.0
_BOTTOM = 250.0
_COUNTS = 54.0


def reliability_curve(bins: Sequence[ReliabilityBin], *, ident: str, name: str) -> Markup:
    """Observed share by predicted probability; the bars below say how many passages a bin holds."""
    plot = Plot(
        ident=ident,
        height=_BOTTOM + 40.0 + _COUNTS,
        title=f"Reliability of {name}",
        description="; ".join(
            f"predicted {score(b.predicted)}, observed {score(b.observed)} "
            f"({score(b.ci[0])} to {score(b.ci[1])}, n = {b.n})"
            for b in bins
        ),
    )

    def down(share: float) -> float:
        return _BOTTOM - share * (_BOTTOM - _TOP)

    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        plot.line(0.0, down(value), 1.0, down(value), "grid")
        words = f"{value:.2f}".rstrip("0").rstrip(".")
        plot.text(0.0, down(value) + 4.0, words, anchor="end", dx=-8.0, kind="tick")
        plot.text(value, _BOTTOM + 18.0, words, anchor="middle", kind="tick")
    plot.line(0.0, down(0.0), 1.0, down(1.0), "reference")
    for b in bins:
        plot.line(b.predicted, down(b.ci[0]), b.predicted, down(b.ci[1]), "whisker thin")
    plot.polyline([(b.predicted, down(b.observed)) for b in bins], "curve")
    for b in bins:
        plot.mark(b.predicted, down(b.observed), "dot", "strong")
    most = max(b.n for b in bins)
    base = _BOTTOM + 34.0 + _COUNTS
    for b in bins:
        height = b.n / most * (_COUNTS - 20.0)
        # As wide as the bin is; a bin of one value still shows.
        width = max(b.high - b.low, 0.008)
        plot.box(min(b.low, 1.0 - width), base - height, width, height, "count")
    plot.line(0.0, base, 1.0, base, "axis")
    plot.text(0.0, base - _COUNTS + 14.0, f"passages a bin, most {most:,}", kind="tick")
    return plot.render()
