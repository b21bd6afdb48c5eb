"""The second stage's scorer, as the settings name it; loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankgate.encoders.locate import file_sha256
from rankgate.errors import ConfigError
from rankgate.scorers.protocol import ScoreContext, Scorer, ScorerInfo, Scores

if TYPE_CHECKING:
    from rag_app.settings import Settings
    from rankgate.encoders.token_store import TokenStore

__all__ = ["LazyScorer", "scorer_for"]


class LazyScorer:
    """Stands for a scorer that takes seconds to load, until the first query that needs it.

    Args:
        info: what is known of it without loading.
        load: makes the scorer.

    """

    def __init__(self, info: ScorerInfo, load: Callable[[], Scorer]) -> None:
        self._info = info
        self._load = load
        self._scorer: Scorer | None = None
        self._failure: ConfigError | None = None
        self._lock = threading.Lock()

    @property
    def info(self) -> ScorerInfo:
        """Who will be scoring; in full once it is loaded."""
        return self._info if self._scorer is None else self._scorer.info

    @property
    def loaded(self) -> bool:
        """Whether it has been needed so far."""
        return self._scorer is not None

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Load where that has not happened yet, and score.

        Raises:
            ConfigError: the model cannot be loaded; it is not tried again, because looking for
                a model that is not there can take long.

        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._scorer is None:
                try:
                    self._scorer = self._load()
                except ConfigError as exc:
                    self._failure = exc
                    raise
        return self._scorer.score(query, texts, context)


def scorer_for(settings: Settings, token_store: TokenStore | None) -> Scorer:
    """The scorer of the setting `scorer`.

    Late interaction uses the encoder that embeds the question anyway, so it costs nothing to
    have it ready; a cross-encoder is loaded at the first query that the gate lets through.

    Args:
        settings: `scorer` and `embedder_path` are read.
        token_store: token vectors that ingestion has kept.

    Raises:
        ConfigError: the late-interaction encoder, or question layers for it, cannot be loaded.

    """
    kind, colon, name = settings.scorer.partition(":")
    if kind == "late-interaction":
        from rankgate.scorers.late_interaction import LateInteractionScorer

        return LateInteractionScorer.load(
            settings.embedder_path, token_store=token_store, query=name if colon else None
        )

    def load() -> Scorer:
        from rankgate.scorers.cross_encoder import CrossEncoderScorer

        return CrossEncoderScorer(name)

    folder = Path(name)
    weights = folder / "model.safetensors"
    info = ScorerInfo(
        id=f"cross-encoder/{folder.name if folder.is_dir() else name}",
        scale="logit",
        weights=file_sha256(weights) if weights.is_file() else "",
        backend="torch",
    )
    return LazyScorer(info, load)
