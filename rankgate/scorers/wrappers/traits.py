"""What a wrapper passes on of the scorer that it wraps, besides scores."""

from __future__ import annotations

from typing import Any

from rankgate.scorers.protocol import Scorer, ScorerInfo
from rankgate.scorers.steps import Stepped

__all__ = ["Around", "breaker_is_open", "close", "innermost", "is_pointwise", "reads_apart"]


class Around(Stepped):
    """A scorer around another one, `inner`."""

    inner: Scorer

    @property
    def info(self) -> ScorerInfo:
        """The inner scorer's."""
        return self.inner.info

    @property
    def is_open(self) -> bool:
        """Whether a breaker inside would refuse a call now."""
        return breaker_is_open(self.inner)

    @property
    def pointwise(self) -> bool:
        """As the inner scorer."""
        return is_pointwise(self.inner)


def breaker_is_open(scorer: Scorer) -> bool:
    """Whether a breaker somewhere inside would refuse a call now; False without one."""
    return bool(getattr(scorer, "is_open", False))


def is_pointwise(scorer: Scorer) -> bool:
    """Whether a text's score does not depend on the other texts of its list.

    True unless the scorer has an attribute `pointwise` that says otherwise, as stages do: which
    texts they read depends on the whole list, so it can be neither split nor answered in part.
    """
    return bool(getattr(scorer, "pointwise", True))


def reads_apart(scorer: Scorer) -> bool:
    """Whether the scorer reads query and text one by one, each up to its `max_length`.

    False unless the scorer has an attribute `reads_apart` that says otherwise: a cross-encoder
    reads both together.
    """
    return bool(getattr(innermost(scorer), "reads_apart", False))


def innermost(scorer: Scorer) -> Scorer:
    """The scorer below its wrappers; itself without any."""
    inner = getattr(scorer, "inner", None)
    return scorer if inner is None else innermost(inner)


def close(scorer: Scorer) -> None:
    """Close the connections, files and worker threads of a scorer and its wrappers."""
    layer: Any = scorer
    while layer is not None:
        end = getattr(layer, "close", None)
        if end is not None:
            end()
        layer = getattr(layer, "inner", None)
