"""The rows of a forest plot: strips that stand inside the cells of a table.

The numbers stand in the cells beside them, so the strips themselves are hidden from readers of
the screen; the shared scale is drawn once, above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rankgate_eval.report.charts.plot import bounds, marker, ticks

_HEIGHT = 33.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The scale that all rows share; made by `over`."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Forest:
        """A scale that holds all values and zero."""
        low, high = bounds([0.0, *values], least=0.04)
        return cls(low=low, high=high)

    def axis(self) -> Markup:
        """The scale's numbers."""
        marks = Markup("").join(
            Markup('<text x="{}%" y="11" text-anchor="middle" class="tick">{}</text>').format(
                f"{self._across(v) * 100.0:.2f}",
                "0" if v == 0.0 else f"{v:+.2f}".replace("-", "\N{MINUS SIGN}"),
            )
            for v in ticks(self.low, self.high, about=3)
            if 0.05 <= self._across(v) <= 0.95  # the next column begins there
        )
        return Markup(
            '<svg class="strip" width="100%" height="16" aria-hidden="true">{}</svg>'
        ).format(marks)

    def row(self, mean: float, ci: tuple[float, float] | None, kind: str) -> Markup:
        """One strip.

        Args:
            ci: its interval.
            kind: `gain` (triangle up), `loss` (triangle down), else `quiet` (ring).
        """
        shape = {"gain": "up", "loss": "down"}.get(kind, "ring")
        middle = _HEIGHT / 2.0
        whisker = (
            Markup("")
            if ci is None
            else Markup('<line x1="{}%" x2="{}%" y1="{}" y2="{}" class="whisker {}"/>').format(
                f"{self._across(ci[0]) * 100.0:.2f}",
                f"{self._across(ci[1]) * 100.0:.2f}",
                middle,
                middle,
                kind,
            )
        )
        zero = f"{self._across(0.0) * 100.0:.2f}"
        return Markup(
            '<svg class="strip" width="100%" height="{}" aria-hidden="true">'
            '<line x1="{}%" x2="{}%" y1="0" y2="{}" class="zero"/>{}{}</svg>'
        ).format(
            int(_HEIGHT),
            zero,
            zero,
            int(_HEIGHT),
            whisker,
            marker(self._across(mean), middle, shape, kind),
        )

    def _across(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)
