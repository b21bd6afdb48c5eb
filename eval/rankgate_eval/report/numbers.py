"""How numbers are written: one way each, in HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Sequence

NOT_MEASURED = "not measured"
_MINUS = "\N{MINUS SIGN}"


def score(value: float | None) -> str:
    """A metric in 0..1, three digits."""
    return NOT_MEASURED if value is None else f"{value:.3f}".replace("-", _MINUS)


def signed(value: float | None) -> str:
    """A difference with its sign, also where it rounds to zero: the sign may decide."""
    if value is None:
        return NOT_MEASURED
    return "0.000" if value == 0.0 else f"{value:+.3f}".replace("-", _MINUS)


def interval(ci: Sequence[float] | None) -> str:
    """`0.541 to 0.612`."""
    return "no interval" if ci is None else f"{score(ci[0])} to {score(ci[1])}"


def signed_interval(ci: Sequence[float] | None) -> str:
    """An interval of a difference."""
    return "no interval" if ci is None else f"{signed(ci[0])} to {signed(ci[1])}"


def percent(share: float | None, *, digits: int = 1) -> str:
    """A share in percent; whole hundreds and zero without digits."""
    if share is None:
        return NOT_MEASURED
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return f"{share * 100.0:.{digits}f}%".replace("-", _MINUS)


def probability(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return "not tested"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def milliseconds(value: float | None) -> str:
    """A time, as many digits as mean something."""
    if value is None:
        return "too few samples"
    if value >= 9999.5:
        return f"{value / 1000.0:.1f} s"
    return f"{value:.0f} ms" if value >= 99.5 else f"{value:.1f} ms"


def count_noun(count: int, noun: str, plural: str | None = None) -> str:
    """`1 query`, `2 queries`."""
    return f"{count:,} {noun if count == 1 else (plural if plural is not None else noun + 's')}"
