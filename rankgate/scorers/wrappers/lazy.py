"""Lazy: a scorer that takes seconds to load, loaded by the first query that needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from rankgate.errors import ConfigError
from rankgate.scorers.protocol import Job, ScoreContext, Scorer, ScorerInfo, Scores
from rankgate.scorers.steps import score_many

__all__ = ["Lazy"]


class Lazy:
    """Stands for a scorer until the first query that the gate lets through.

    Pickles where `load` does; the copy loads anew.

    Args:
        info: what is known of it without loading.
        load: makes the scorer.
    """

    def __init__(self, info: ScorerInfo, load: Callable[[], Scorer]) -> None:
        self._announced = info
        self._load = load
        self._scorer: Scorer | None = None
        self._failure: ConfigError | None = None
        self._checks: list[Callable[[ScorerInfo], None]] = []
        self._lock = threading.Lock()

    @property
    def info(self) -> ScorerInfo:
        """Who will be scoring; in full once it is loaded."""
        return self._announced if self._scorer is None else self._scorer.info

    @property
    def loaded(self) -> bool:
        """Whether it has been needed so far."""
        return self._scorer is not None

    def expect(self, check: Callable[[ScorerInfo], None]) -> None:
        """Have what was loaded checked, before its first score, or now if it is loaded.

        Args:
            check: raises a `ConfigError` where it is not what was expected; then every call does.
        """
        with self._lock:
            if self._scorer is not None:
                check(self._scorer.info)
            self._checks.append(check)

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Load where that has not happened yet, and score; see `score_many`."""
        return self.score_many([Job(query=query, texts=texts)], context)[0]

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """Score several queries.

        Raises:
            ConfigError: the model cannot be loaded; it is not tried again, because looking for
                a model that is not there can take long.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._scorer is None:
                try:
                    made = self._load()
                    for check in self._checks:
                        check(made.info)
                    self._scorer = made
                except ConfigError as exc:
                    self._failure = exc
                    raise
            scorer = self._scorer
        return score_many(scorer, jobs, ScoreContext() if context is None else context)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._announced, self._load))
