"""A model of natural language inference, or of answerability, as reader of sufficiency."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankgate.encoders.forking import survive_fork
from rankgate.errors import ConfigError, MissingExtraError, ModelNotFoundError
from rankgate.scorers.protocol import ScoreContext, ScorerInfo, Scores, ScoreStats
from rankgate.texts import checked_texts

__all__ = ["NliScorer"]

SCALE = "nli-logit"
_CHUNK = 8
_YES = ("entail", "answerable", "has_answer", "yes", "true", "support")
_STATES = "The text answers the question: {}"


class NliScorer:
    """Log-odds that a text answers the query, by a classifier of pairs.

    A model with `entailment` and `contradiction` reads text and "The text answers the question:
    ..."; one with another yes (`answerable`, `yes`, `true`, `LABEL_1` of two) reads query and text.

    Args:
        name_or_path: a hub name such as `cross-encoder/nli-deberta-v3-base`, or a folder.
        local_files_only: never ask the hub.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelNotFoundError: no such model here, or the hub cannot be reached.
        ConfigError: none of the model's labels says yes.
    """

    def __init__(self, name_or_path: str | Path, *, local_files_only: bool = False) -> None:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as exc:
            raise MissingExtraError("NliScorer", "torch") from exc
        survive_fork()
        name = str(name_or_path)
        try:
            model: Any = CrossEncoder(
                name, local_files_only=local_files_only or Path(name_or_path).is_dir()
            )
        except (OSError, ValueError) as exc:
            raise ModelNotFoundError(
                f"nli:{name} could not be loaded: {exc}. Give the folder of a saved model, or a "
                "hub name while the hub can be reached."
            ) from exc
        model.eval()
        self._yes, self._states = _labels(name, model.config.id2label)
        self._name, self._model, self._lock = name_or_path, model, threading.Lock()
        self.info = self.info_of(name)

    @staticmethod
    def info_of(name: str) -> ScorerInfo:
        """Who it will be, before it is loaded."""
        return ScorerInfo(
            id=f"nli/{Path(name).name if Path(name).is_dir() else name}",
            scale=SCALE,
            backend="torch",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._name,)

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Log-odds of yes against all other labels; the clock is read between chunks of 8."""
        from torch.nn import Identity

        ctx = ScoreContext() if context is None else context
        query, texts = checked_texts(query, texts)
        pairs = [(t, _STATES.format(query)) if self._states else (query, t) for t in texts]
        values = np.zeros(len(texts), dtype=np.float32)
        done = 0
        while done < len(texts) and not ctx.should_stop:
            part = pairs[done : done + _CHUNK]
            with self._lock:
                logits = np.asarray(
                    self._model.predict(
                        part, show_progress_bar=False, batch_size=_CHUNK, activation_fn=Identity()
                    ),
                    dtype=np.float64,
                )
            others = np.logaddexp.reduce(np.delete(logits, self._yes, axis=1), axis=1)
            values[done : done + len(part)] = logits[:, self._yes] - others
            done += len(part)
        return Scores(
            values=values,
            scale=SCALE,
            scored=np.arange(len(texts)) < done,
            stats=ScoreStats(pairs=done, windows=done, calls=1),
        )


def _labels(name: str, labels: Mapping[int, str]) -> tuple[int, bool]:
    """Which label is the yes, and whether the model wants a statement."""
    plain = {int(i): str(label).strip().lower() for i, label in labels.items()}
    found = [i for i, label in plain.items() if label.startswith(_YES)]
    if not found and sorted(plain.values()) == ["label_0", "label_1"]:
        found = [i for i, label in plain.items() if label == "label_1"]
    if len(found) != 1 or len(plain) < 2:
        raise ConfigError(
            f"nli:{name} has the labels {sorted(labels.values())}, none or several of which say "
            f"that a text answers; one must begin with {', '.join(_YES)}. A model with one output "
            "is a cross-encoder:NAME"
        )
    return found[0], any(label.startswith("contradict") for label in plain.values())
