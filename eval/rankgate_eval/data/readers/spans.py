"""Finds quoted text in a corpus: which passages contain a span."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from rankgate_eval.data.normalise import normalised


class SpanFinder:
    """All passages as one normalised string, so that a span is found by one search.

    Args:
        passages: (id, text) pairs.
    """

    def __init__(self, passages: Sequence[tuple[str, str]]) -> None:
        self.ids = [identifier for identifier, _ in passages]
        self._starts: list[int] = []
        texts = [normalised(text) for _, text in passages]
        position = 0
        for text in texts:
            self._starts.append(position)
            position += len(text) + 1
        # Normalised text holds no line break, so a match never crosses two passages.
        self._all = "\n".join(texts)

    def find(self, span: str) -> list[str]:
        """Ids of the passages that contain the span, in corpus order.

        Case, white space and Unicode form do not matter. An empty span is in none.
        """
        wanted = normalised(span)
        found: list[str] = []
        at = self._all.find(wanted) if wanted else -1
        while at >= 0:
            index = bisect_right(self._starts, at) - 1
            found.append(self.ids[index])
            if index + 1 >= len(self._starts):
                break
            # From the next passage on: twice in one passage is still one passage.
            at = self._all.find(wanted, self._starts[index + 1])
        return found
