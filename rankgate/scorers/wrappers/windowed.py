"""Windowed: a text longer than the scorer reads is read in overlapping windows, not cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from rankgate.errors import ConfigError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, ScorerInfo, Scores
from rankgate.scorers.steps import Call, Stepped, Steps, arun
from rankgate.scorers.wrappers.spans import Spans, TokenizerSpans, cut_windows, estimated_spans
from rankgate.scorers.wrappers.traits import breaker_is_open, is_pointwise
from rankgate.texts import checked_texts

__all__ = ["Windowed"]

_WINDOW, _OVERLAP = 200, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """A job's texts as windows: text i is `windows[bounds[i]:bounds[i + 1]]`."""

    windows: Job
    bounds: list[int]


class Windowed(Stepped):
    """Cuts long texts into overlapping token windows; a text's score is its best window's.

    Max pooling (MaxP: Dai and Callan, SIGIR 2019, arXiv 1905.09217). Texts that fit pass
    unchanged, so their scores are the inner scorer's own. `ScoreStats.windows` counts what was
    read; `pairs` stays the number of texts.

    When the deadline passes between the windows of a text, the text counts as not read: the
    maximum over a part would quietly favour short texts. Around a stage (which reads only some
    windows on purpose) a text counts as read as soon as one of its windows is.

    Args:
        inner: the scorer.
        tokenizer: a `tokenizers.Tokenizer`, or a function from a text to the character offsets
            of its tokens; None: offsets are estimated, on the side of too many windows.
        window: tokens a window; must leave room for the query within the scorer's `max_length`.
        overlap: tokens that neighbouring windows share.

    Raises:
        ConfigError: window or overlap cannot be, or a window is longer than the scorer reads.
    """

    def __init__(
        self,
        inner: Scorer,
        *,
        tokenizer: Tokenizer | Callable[[str], Spans] | None = None,
        window: int = _WINDOW,
        overlap: int = _OVERLAP,
    ) -> None:
        if window < 1 or not 0 <= overlap < window:
            raise ConfigError(
                f"window must be at least 1 and overlap within 0..window - 1, got window {window} "
                f"and overlap {overlap}"
            )
        limit = inner.info.max_length
        if limit is not None and window >= limit:
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
        self._label = f"max:{window}/{overlap}:{unit}"

    @classmethod
    def for_scorer(cls, scorer: Scorer) -> Windowed:
        """A wrapper with the scorer's own tokenizer, where it has one, and fitting windows.

        Looked for as `scorer.tokenizer` and `scorer.encoder.tokenizer`, also through other
        wrappers; a tokenizer of the transformers library counts if it is a fast one.
        """
        limit = scorer.info.max_length
        window = _WINDOW if limit is None else min(_WINDOW, _fitting(limit))
        return cls(
            scorer, tokenizer=_tokenizer_of(scorer), window=window, overlap=min(40, window // 5)
        )

    @property
    def info(self) -> ScorerInfo:
        """The inner scorer's, with the way of cutting in `window`: scores of long texts differ."""
        return replace(self.inner.info, window=self._label)

    @property
    def is_open(self) -> bool:
        """Whether a breaker inside would refuse a call now."""
        return breaker_is_open(self.inner)

    @property
    def pointwise(self) -> bool:
        """As the inner scorer."""
        return is_pointwise(self.inner)

    def steps(self, jobs: Sequence[Job], context: ScoreContext) -> Steps[list[Scores]]:
        """Cut, score all windows in one call, pool."""
        return self._read(self._cut(jobs), context)

    async def ascore_many(
        self, jobs: Sequence[Job], context: ScoreContext | None = None
    ) -> list[Scores]:
        """Score several queries without blocking; cutting long texts is left to a thread."""
        cut = await asyncio.to_thread(self._cut, jobs)
        return await arun(self._read(cut, ScoreContext() if context is None else context))

    def _read(self, cut: Sequence[_Cut], context: ScoreContext) -> Steps[list[Scores]]:
        answers = yield Call(scorer=self.inner, jobs=[c.windows for c in cut], context=context)
        return [_pooled(c, scores) for c, scores in zip(cut, answers, strict=True)]

    def _cut(self, jobs: Sequence[Job]) -> list[_Cut]:
        return [self._cut_job(job) for job in jobs]

    def _cut_job(self, job: Job) -> _Cut:
        checked_texts(job.query, job.texts)
        windows: list[str] = []
        bounds = [0]
        for text in job.texts:
            windows.extend(self._windows(text))
            bounds.append(len(windows))
        return _Cut(windows=Job(query=job.query, texts=windows), bounds=bounds)

    def _windows(self, text: str) -> list[str]:
        # No tokenizer makes more tokens of ASCII text than it has characters.
        if len(text) < self.window and text.isascii():
            return [text]
        return cut_windows(text, self._spans(text), window=self.window, overlap=self.overlap)


def _pooled(cut: _Cut, scores: Scores) -> Scores:
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
