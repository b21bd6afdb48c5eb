"""Windowed: a text longer than the scorer reads is read in overlapping windows, not cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from rankgate.errors import ConfigError
from rankgate.scorers.protocol import (
    WHOLE_WINDOWS,
    Job,
    ScoreContext,
    Scorer,
    ScorerInfo,
    Scores,
)
from rankgate.scorers.steps import Call, Slow, Steps
from rankgate.scorers.wrappers.spans import Spans, TokenizerSpans, cut_windows, estimated_spans
from rankgate.scorers.wrappers.traits import Around, reads_apart
from rankgate.texts import checked_texts

__all__ = ["LEAST_READ", "Windowed", "windows_read"]

LEAST_READ = 16
"""Tokens that a scorer must read for texts to be cut to fit: fewer leave nothing beside a query."""

_WINDOW, _OVERLAP = 200, 40
# Special tokens of a text that is read alone, and of a pair (four in the RoBERTa family).
_SPECIAL_ALONE, _SPECIAL_PAIR = 2, 4
_SLACK = 2
_COUNTS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class _Windows:
    """A job's texts as windows: text i is `windows[bounds[i]:bounds[i + 1]]`."""

    windows: Job
    bounds: list[int]


class Windowed(Around):
    """Cuts long texts into overlapping token windows; a text's score is its best window's.

    Max pooling (MaxP: Dai and Callan, SIGIR 2019, arXiv 1905.09217). Texts that fit pass
    unchanged, so their scores are the inner scorer's own. `ScoreStats.windows` counts what was
    read; `pairs` stays the number of texts.

    When the deadline passes between the windows of a text, the text counts as not read: the
    maximum over a part would quietly favour short texts. Around a stage (which reads only some
    windows on purpose) a text counts as read as soon as one of its windows is.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, or a function from a text to the character offsets
            of its tokens; None: offsets are estimated, on the side of too many windows.
        window: tokens a window; must leave room for the query within the scorer's `max_length`.
            None: what the scorer reads beside this query, so that only texts which it would
            cut off are cut, and every other score is the inner scorer's own.
        overlap: tokens that neighbouring windows share.

    Raises:
        ConfigError: window or overlap cannot be, or a window is longer than the scorer reads.
    """

    def __init__(
        self,
        inner: Scorer,
        *,
        tokenizer: Tokenizer | Callable[[str], Spans] | None = None,
        window: int | None = _WINDOW,
        overlap: int = _OVERLAP,
    ) -> None:
        limit = inner.info.max_length
        if window is None and (limit is None or limit < LEAST_READ):
            raise ConfigError(
                f"{inner.info.id} does not say how many tokens it reads ({limit}), so nothing can "
                "be cut to fit: give window="
            )
        if overlap < 0 or (window is not None and (window < 1 or overlap >= window)):
            raise ConfigError(
                f"window must be at least 1 and overlap within 0..window - 1, got window {window} "
                f"and overlap {overlap}"
            )
        if window is not None and limit is not None and window >= limit:
            raise ConfigError(
                f"a window of {window} tokens does not fit: {inner.info.id} reads {limit} tokens "
                "of query and passage together, so every window would be cut off. Use "
                f"window={_fitting(limit)}."
            )
        self.inner = inner
        self.window = window
        self.overlap = overlap
        if tokenizer is None:
            self._spans: Callable[[str], Spans] = estimated_spans
            unit = "estimated"
        elif isinstance(tokenizer, Tokenizer):
            self._spans, unit = TokenizerSpans(tokenizer), "tokens"
        else:
            self._spans, unit = tokenizer, "custom"
        self._given = tokenizer
        # The same passages come up for many queries, and most of them fit.
        self._count = lru_cache(maxsize=_COUNTS)(lambda text: len(self._spans(text)))
        size = f"max:{window}" if window is not None else f"{WHOLE_WINDOWS}{limit}"
        self._label = f"{size}/{overlap}:{unit}"

    @classmethod
    def for_scorer(cls, scorer: Scorer) -> Windowed:
        """A wrapper that cuts, by the scorer's own tokenizer, only what the scorer would cut off.

        The tokenizer is looked for as `scorer.tokenizer` and `scorer.encoder.tokenizer`, also
        through other wrappers; one of the transformers library counts if it is a fast one.
        """
        window = _WINDOW if scorer.info.max_length is None else None
        return cls(scorer, tokenizer=_tokenizer_of(scorer), window=window)

    def __reduce__(self) -> tuple[Any, ...]:
        made = partial(type(self), tokenizer=self._given, window=self.window, overlap=self.overlap)
        return (made, (self.inner,))

    @property
    def info(self) -> ScorerInfo:
        """The inner scorer's, with the way of cutting in `window`: scores of long texts differ."""
        return replace(self.inner.info, window=self._label)

    def steps(self, jobs: Sequence[Job], context: ScoreContext) -> Steps[list[Scores]]:
        """Cut, score all windows in one call, pool."""
        cut: list[_Windows] = yield Slow(work=partial(self._windows_of, jobs))
        answers = yield Call(scorer=self.inner, jobs=[c.windows for c in cut], context=context)
        return [_pooled(c, scores) for c, scores in zip(cut, answers, strict=True)]

    def windows(self, query: str, text: str) -> list[str]:
        """What the inner scorer is given of this text; the text itself where it fits."""
        return self._windows(text, self._room(query) if self.window is None else self.window)

    def _windows_of(self, jobs: Sequence[Job]) -> list[_Windows]:
        return [self._windows_of_job(job) for job in jobs]

    def _windows_of_job(self, job: Job) -> _Windows:
        checked_texts(job.query, job.texts)
        window = self._room(job.query) if self.window is None else self.window
        windows: list[str] = []
        bounds = [0]
        for text in job.texts:
            windows.extend(self._windows(text, window))
            bounds.append(len(windows))
        return _Windows(windows=Job(query=job.query, texts=windows), bounds=bounds)

    def _room(self, query: str) -> int:
        """Tokens of a text that the scorer reads beside this query."""
        limit = self.inner.info.max_length
        reads = _WINDOW if limit is None else limit
        if reads_apart(self.inner):
            return reads - _SPECIAL_ALONE
        # A query that leaves less than a fifth is itself cut off by the scorer.
        return max(reads // 5, reads - _SPECIAL_PAIR - self._count(query))

    def _windows(self, text: str, window: int) -> list[str]:
        # No tokenizer makes more tokens of ASCII text than it has characters.
        if (len(text) < window and text.isascii()) or self._count(text) <= window:
            return [text]
        overlap = self.overlap
        if self.window is None:
            # A window that begins within a word may have a token or two more of its own.
            window, overlap = window - _SLACK, min(overlap, window // 5)
        return cut_windows(text, self._spans(text), window=window, overlap=overlap)


def windows_read(scorer: Scorer, text: str) -> list[str]:
    """What a scorer that reads query and text apart is given of a text, through its wrappers."""
    layer: Any = scorer
    while layer is not None and not isinstance(layer, Windowed):
        layer = getattr(layer, "inner", None)
    return [text] if layer is None else layer.windows("", text)


def _pooled(cut: _Windows, scores: Scores) -> Scores:
    """One value a text: the best of its windows."""
    bounds = cut.bounds
    n = len(bounds) - 1
    if len(cut.windows.texts) == n:  # nothing was cut
        return scores
    values = np.zeros(n, dtype=np.float32)
    scored = np.zeros(n, dtype=np.bool_)
    for i in range(n):
        part = slice(bounds[i], bounds[i + 1])
        read = scores.scored[part]
        scored[i] = read.all() if scores.order is None else read.any()
        if scored[i]:
            values[i] = scores.values[part][read].max()
    order = None
    if scores.order is not None:
        owner = np.repeat(np.arange(n), np.diff(bounds))
        # A text stands where its best window stands.
        order = np.array(list(dict.fromkeys(owner[scores.order].tolist())), dtype=np.intp)
    stats = replace(scores.stats, pairs=int(scored.sum()), windows=int(scores.scored.sum()))
    return Scores(
        values=values,
        scale=scores.scale,
        scored=scored,
        stats=stats,
        order=order,
        note=scores.note,
    )


def _fitting(limit: int) -> int:
    """A window that leaves at least a fifth of the scorer's input to query and special tokens."""
    return max(1, limit - max(8, limit // 5))


def _tokenizer_of(scorer: Any) -> Tokenizer | None:
    seen = scorer
    while seen is not None:
        for owner in (seen, getattr(seen, "encoder", None)):
            found = getattr(owner, "tokenizer", None)
            found = getattr(found, "backend_tokenizer", found)
            if isinstance(found, Tokenizer):
                return found
        seen = getattr(seen, "inner", None)
    return None
