"""A small SVG plot: x in shares of the width, y in pixels, so that text keeps its size on a phone.

Lengths along x are percentages and the drawing may overflow into the padding that the stylesheet
leaves around it: one drawing serves a desktop, a phone and paper, without a script. Colours come
from the stylesheet by class. Whatever is not markup already is escaped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from markupsafe import Markup

MARKS = {
    "dot": '<circle r="4.5"/>',
    "ring": '<circle r="4"/>',
    "diamond": '<path d="M0-6.2 6.2 0 0 6.2-6.2 0Z"/>',
    "up": '<path d="M0-6 5.8 4.6H-5.8Z"/>',
    "down": '<path d="M0 6 5.8-4.6H-5.8Z"/>',
    "square": '<path d="M-4.4-4.4H4.4V4.4H-4.4Z"/>',
}
"""Shapes around their own origin: what a colour says, a shape says too."""


def marker(x: float, y: float, shape: str, kind: str) -> Markup:
    """A shape at a share `x` of the width and pixel `y`; a nested svg, as paths know no percent."""
    return Markup('<svg x="{}" y="{}" class="mark {} {}">{}</svg>').format(
        _percent(x), _pixel(y), shape, kind, Markup(MARKS[shape])
    )


class Plot:
    """Collects shapes; `render` gives the SVG.

    Args:
        ident: unique in the document.
        title: what it shows, in a few words.
        description: what is to be seen, with the numbers, for who cannot see it.
    """

    def __init__(self, *, ident: str, height: float, title: str, description: str) -> None:
        self._ident = ident
        self.height = height
        self._title = title
        self._description = description
        self._parts: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self._parts.append(
            Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(
                _percent(x1), _pixel(y1), _percent(x2), _pixel(y2), kind
            )
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A filled rectangle."""
        self._parts.append(
            Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
                _percent(x), _pixel(y), _percent(width), _pixel(height), kind
            )
        )

    def mark(self, x: float, y: float, shape: str, kind: str = "quiet") -> None:
        """One of `MARKS`."""
        self._parts.append(marker(x, y, shape, kind))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        anchor: str = "start",
        dx: float = 0.0,
        kind: str = "label",
    ) -> None:
        """Words at a point, shifted by `dx` pixels."""
        self._parts.append(
            Markup('<text x="{}" y="{}" dx="{}" text-anchor="{}" class="{}">{}</text>').format(
                _percent(x), _pixel(y), _pixel(dx), anchor, kind, words
            )
        )

    def polyline(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Straight lines from point to point."""
        for (x1, y1), (x2, y2) in itertools.pairwise(points):
            self.line(x1, y1, x2, y2, kind)

    def render(self) -> Markup:
        """The SVG, to be set into HTML."""
        return Markup(
            '<svg class="plot" width="100%" height="{}" role="img" '
            'aria-labelledby="{}-title {}-desc"><title id="{}-title">{}</title>'
            '<desc id="{}-desc">{}</desc>{}</svg>'
        ).format(
            _pixel(self.height),
            self._ident,
            self._ident,
            self._ident,
            self._title,
            self._ident,
            self._description,
            Markup("").join(self._parts),
        )


def ticks(low: float, high: float, *, about: int = 5) -> tuple[float, ...]:
    """Round values within [low, high], about so many; the two ends where nothing round fits."""
    span = high - low
    if not span > 0.0:
        return (low,)
    rough = span / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1.0, 2.0, 5.0, 10.0) if power * m >= rough * 0.999)
    first = -(-(low - step * 1e-6) // step)
    found = []
    while first * step <= high + step * 1e-6:
        found.append(round(first * step, 10) + 0.0)  # without the sign of a negative zero
        first += 1
    return tuple(found) if found else (low, high)


def bounds(values: Sequence[float], *, least: float, pad: float = 0.06) -> tuple[float, float]:
    """A range that holds all values with some air, at least `least` wide."""
    low, high = min(values), max(values)
    span = max(high - low, least)
    middle = (low + high) / 2.0
    half = span / 2.0 * (1.0 + 2.0 * pad)
    return middle - half, middle + half


def _percent(share: float) -> str:
    return f"{share * 100.0:.2f}%"


def _pixel(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
