"""What a wrapper passes on of the scorer that it wraps, besides scores."""

from __future__ import annotations

from rankgate.scorers.protocol import Scorer

__all__ = ["breaker_is_open", "is_pointwise"]


def breaker_is_open(scorer: Scorer) -> bool:
    """Whether a breaker somewhere inside would refuse a call now; False without one."""
    return bool(getattr(scorer, "is_open", False))


def is_pointwise(scorer: Scorer) -> bool:
    """Whether a text's score does not depend on the other texts of its list.

    True unless the scorer has an attribute `pointwise` that says otherwise, as stages do: which
    texts they read depends on the whole list, so it can be neither split nor answered in part.
    """
    return bool(getattr(scorer, "pointwise", True))
