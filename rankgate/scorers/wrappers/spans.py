"""Where the tokens of a text stand, and how a long text is cut into overlapping windows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tokenizers import Tokenizer

from rankgate.errors import ConfigError
from rankgate.texts import clean_text

__all__ = ["Spans", "TokenizerSpans", "cut_windows", "estimated_spans", "window_bounds"]

Spans = Sequence[tuple[int, int]]

# Subword tokenizers take about four ASCII letters a token on English; of other scripts they may
# take each character apart. Too many estimated tokens give more windows, never an unread end.
_PIECE = re.compile(r"[A-Za-z0-9]{1,4}|[^\sA-Za-z0-9]")


def estimated_spans(text: str) -> list[tuple[int, int]]:
    """Character offsets (start, end) of about one token each, without a tokenizer.

    Runs of ASCII letters and digits are taken four at a time, any other character that is not
    white space alone: more tokens than usual tokenizers make.
    """
    return [match.span() for match in _PIECE.finditer(text)]


class TokenizerSpans:
    """Character offsets of a tokenizer's own tokens.

    Works on a copy of the tokenizer with truncation and padding off: switching them on a shared
    one makes other threads fail with "Already borrowed", and leaving them on would hide the end
    of the text.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each token, in order; special tokens left out."""
        # Cleaning replaces characters one for one, so the offsets hold for `text` too.
        encoding = self._tokenizer.encode(clean_text(text), add_special_tokens=False)
        return [(start, end) for start, end in encoding.offsets if end > start]


def window_bounds(text: str, spans: Spans, *, window: int, overlap: int) -> list[tuple[int, int]]:
    """Character offsets (begin, end) of windows of `window` tokens that cover the text.

    One window over the whole text where it fits. Otherwise neighbours share at least `overlap`
    tokens, and the last one reaches back so that it is as long as the others. Every character
    of the text is in some window.

    Args:
        spans: its tokens' offsets, in order.
        window: tokens a window, at least 1.
        overlap: shared tokens, below `window`.

    Raises:
        ConfigError: the spans are not in order, or reach outside the text.
    """
    n = len(spans)
    if n <= window:
        return [(0, len(text))]
    _check(text, spans)
    bounds = []
    for first in (*range(0, n - window, window - overlap), n - window):
        after = first + window
        begin = 0 if first == 0 else spans[first][0]
        # Up to the next token, so that what stands between tokens is in a window too.
        end = len(text) if after >= n else max(spans[after][0], spans[after - 1][1])
        bounds.append((begin, end))
    return bounds


def cut_windows(text: str, spans: Spans, *, window: int, overlap: int) -> list[str]:
    """The windows of `window_bounds` as texts; the text itself where it fits.

    Raises:
        ConfigError: the spans are not in order, or reach outside the text.
    """
    bounds = window_bounds(text, spans, window=window, overlap=overlap)
    return [text[begin:end] for begin, end in bounds]


def _check(text: str, spans: Spans) -> None:
    at = 0
    for start, end in spans:
        if not at <= start <= end <= len(text):
            raise ConfigError(
                f"token offsets must rise and lie within the text of {len(text)} characters, got "
                f"({start}, {end}) after {at}: mend the function that was given as tokenizer"
            )
        at = start
