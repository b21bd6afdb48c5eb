"""Warming: passages are read in the background, so that no question waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from rankgate.encoders import SharedTokens
from rankgate.errors import ConfigError
from rankgate.retrieve import Progress
from rankgate.scorers.protocol import ScoreContext, Scorer
from rankgate.scorers.wrappers import Windowed
from rankgate.texts import clean_text

__all__ = ["Warming", "kept_tokens", "warm"]

_BATCH = 32  # a question that comes meanwhile waits for 8 texts at most


def kept_tokens(scorer: Scorer) -> SharedTokens | None:
    """Where the scorer keeps what it has read, below all its wrappers; None: nowhere."""
    store = getattr(_below(scorer, lambda layer: not hasattr(layer, "inner")), "token_store", None)
    return store if isinstance(store, SharedTokens) else None


def _below(scorer: Scorer, wanted: Callable[[Any], bool]) -> Any:
    layer: Any = scorer
    while not wanted(layer) and hasattr(layer, "inner"):
        layer = layer.inner
    return layer


class Warming:
    """A run in the background that reads passages which were not read before.

    Attributes:
        done: passages that were looked at; those that were known already cost next to nothing.
        total: passages in all; None: not counted yet.
    """

    def __init__(self) -> None:
        self.done = 0
        self.total: int | None = None
        self._context = ScoreContext()
        self._ended = threading.Event()
        self._error: BaseException | None = None

    @property
    def progress(self) -> float:
        """Share that is done, in [0, 1]; 0 while nothing is counted."""
        if not self.total:
            return float(self.running is False)
        return min(1.0, self.done / self.total)

    @property
    def running(self) -> bool:
        """Whether it still reads; False too after an error, which `wait` raises."""
        return not self._ended.is_set()

    def stop(self) -> None:
        """End after the texts in hand; what was read stays, and a later run goes on from there."""
        self._context.cancelled.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it has ended, at most `timeout` seconds from now.

        Raises:
            Exception: what ended it early: of the store, of `progress`, or a `ConfigError` where
                nothing can be kept.
        """
        ended = self._ended.wait(timeout)
        if self._error is not None:
            raise self._error
        return ended

    def _run(
        self,
        scorer: Scorer,
        store: SharedTokens,
        source: Callable[[], Iterable[str]],
        progress: Progress | None,
    ) -> None:
        try:
            self.total = sum(1 for _ in self._until_stopped(source()))
            texts = map(clean_text, self._until_stopped(source()))
            while batch := list(islice(texts, _BATCH)):
                absent = store.missing(batch)
                if absent:
                    # Through the windows, because what a question needs of a long text is those.
                    scorer.score("", absent, self._context)
                    if store.failure is not None:
                        raise ConfigError(f"what is read cannot be kept: {store.failure}")
                self.done += 0 if self._context.should_stop else len(batch)
                if progress is not None:
                    progress(self.done, self.total)
        except BaseException as exc:  # whatever ends the thread belongs to whoever waits for it
            self._error = exc
        finally:
            self._ended.set()

    def _until_stopped(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            if self._context.should_stop:
                return
            yield text


def warm(
    scorer: Scorer,
    source: Callable[[], Iterable[str]],
    progress: Progress | None = None,
) -> Warming:
    """Begin to read texts that the scorer has not read before, in a thread that ends with us.

    Args:
        scorer: late interaction with `SharedTokens`, in any wrappers.
        source: gives the texts; called twice, to count and to read.
        progress: called from the thread with the number done and the total.

    Raises:
        ConfigError: the scorer keeps nothing.
        InputError: the texts cannot be listed.
    """
    store = kept_tokens(scorer)
    if store is None:
        raise ConfigError(
            f"nothing that {scorer.info.id} reads of a passage is kept, so there is nothing to "
            "warm: use the default scorer with a token_cache, or give one of your own "
            "SharedTokens as token_store="
        )
    for _ in source():  # a store that cannot be listed is an error at once
        break
    reader = _below(scorer, lambda layer: isinstance(layer, Windowed))
    run = Warming()
    threading.Thread(
        target=run._run, args=(reader, store, source, progress), name="rankgate-warm", daemon=True
    ).start()
    return run
