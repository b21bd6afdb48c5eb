"""Numbers beside the limit that decided about them, with enough digits to show the decision."""

from __future__ import annotations

__all__ = ["beside"]

_MOST = 17


def beside(value: float, limit: float) -> tuple[str, str]:
    """Both as text: at least three digits, the limit exact to six, and as they stand in order.

    What is shown as equal is equal, and what is below the limit is shown below it: 0.0249 and
    0.025 give "0.0249" and "0.0250", never "0.025" twice.
    """
    for digits in range(3, _MOST):
        shown, bound = f"{value:.{digits}f}", f"{limit:.{digits}f}"
        order = (float(shown) < float(bound), float(shown) > float(bound))
        if order == (value < limit, value > limit) and abs(float(bound) - limit) < 5e-7:
            return shown, bound
    return repr(value), repr(limit)
