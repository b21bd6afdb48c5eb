"""The course of a training as a picture: one SVG file, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from rankgate.errors import InputError
from rankgate_eval.train.engine.trainer import HistoryPoint

__all__ = ["curves_svg"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _PANEL = 640, 460, 56, 30, 170
_COLOURS = ("#1b6ca8", "#b8442c", "#3a7d44", "#7a4fa3", "#8a6d00", "#00798c", "#5c5c5c")


def curves_svg(history: Sequence[HistoryPoint], *, title: str, best_step: int) -> str:
    """Loss above (training lists, lists kept back), dev nDCG@10 below, over steps.

    A dashed line stands at the step whose model was kept.

    Raises:
        InputError: an empty history.
    """
    if not history:
        raise InputError("there is no look to draw")
    steps = [p.step for p in history]
    losses = [
        ("training lists", [(p.step, p.train_loss) for p in history if p.train_loss is not None]),
        ("lists kept back", [(p.step, p.held_out_loss) for p in history]),
    ]
    names = sorted(history[0].by_corpus)
    quality = [("mean", [(p.step, p.ndcg) for p in history])]
    if len(names) > 1:
        quality += [(n, [(p.step, p.by_corpus[n]) for p in history]) for n in names]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-size="13">{escape(title)}</text>',
        *_panel(_TOP, "list loss", losses, max(steps), best_step),
        *_panel(_TOP + _PANEL + 44, "dev nDCG@10", quality, max(steps), best_step),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(
    top: int,
    label: str,
    series: Sequence[tuple[str, Sequence[tuple[int, float]]]],
    last: int,
    best_step: int,
) -> list[str]:
    values = [v for _, points in series for _, v in points]
    low, high = min(values), max(values)
    margin = max(0.05 * (high - low), 1e-3)
    low, high = low - margin, high + margin
    right, bottom = _WIDTH - 150, top + _PANEL

    def x(step: float) -> float:
        return _LEFT + (right - _LEFT) * (step / last if last else 0.0)

    def y(value: float) -> float:
        return bottom - _PANEL * (value - low) / (high - low)

    parts = [
        f'<rect x="{_LEFT}" y="{top}" width="{right - _LEFT}" height="{_PANEL}" fill="none" '
        'stroke="#999999"/>',
        f'<text x="{_LEFT + 4}" y="{top + 13}" fill="#444444">{label}</text>',
        f'<line x1="{x(best_step):.1f}" x2="{x(best_step):.1f}" y1="{top}" y2="{bottom}" '
        'stroke="#999999" stroke-dasharray="4 3"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        parts.append(
            f'<text x="{_LEFT - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3f}</text>'
        )
        parts.append(
            f'<text x="{x(share * last):.1f}" y="{bottom + 14}" text-anchor="middle">'
            f"{round(share * last)}</text>"
        )
    for number, (name, points) in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
        width = 2.5 if number == 0 else 1.2
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )
        parts += [
            f'<circle cx="{x(step):.1f}" cy="{y(value):.1f}" r="2" fill="{colour}"/>'
            for step, value in points
        ]
        parts.append(
            f'<text x="{right + 8}" y="{top + 14 + 15 * number}" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return parts
