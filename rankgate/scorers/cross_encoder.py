"""Any sentence-transformers cross-encoder, by hub name or local folder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from rankgate.encoders.forking import survive_fork
from rankgate.encoders.locate import file_sha256
from rankgate.errors import ConfigError, MissingExtraError, ModelNotFoundError
from rankgate.scorers.protocol import Job, ScoreContext, ScorerInfo, Scores, ScoreStats
from rankgate.texts import checked_texts

__all__ = ["CrossEncoderScorer"]

_CHUNK = 8


class CrossEncoderScorer:
    """Reads query and passage together and gives the model's raw logit.

    The activation (often a sigmoid) is taken off: saturated sigmoids tie, logits do not.

    Args:
        name_or_path: a hub name such as `cross-encoder/ms-marco-MiniLM-L-6-v2`, or a folder.
        revision: commit or tag on the hub.
        device: `cpu`, `cuda`, ...; None: the library's choice.
        max_length: tokens of query and passage together; None: the model's own limit.
        local_files_only: never ask the hub.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelNotFoundError: no such model here, or the hub cannot be reached.
        ConfigError: the model gives more than one number a pair.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        device: str | None = None,
        max_length: int | None = None,
        local_files_only: bool = False,
    ) -> None:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as exc:
            raise MissingExtraError("CrossEncoderScorer", "torch") from exc
        survive_fork()
        name = str(name_or_path)
        folder = Path(name_or_path)
        try:
            model: Any = CrossEncoder(
                name,
                revision=revision,
                device=device,
                max_length=max_length,
                local_files_only=local_files_only or folder.is_dir(),
            )
        except (OSError, ValueError) as exc:
            raise ModelNotFoundError(
                f"cross-encoder {name!r} could not be loaded: {exc}. Give the folder of a saved "
                "model, or a hub name while the hub can be reached."
            ) from exc
        model.eval()
        again = partial(
            type(self),
            revision=revision,
            device=device,
            max_length=max_length,
            local_files_only=local_files_only,
        )
        # Loaded again on the other side: locks and models do not travel.
        self._take(model, name, "" if revision is None else revision, (again, (name_or_path,)))

    @classmethod
    def of_model(cls, model: Any, *, name: str | None = None) -> CrossEncoderScorer:
        """Around a `sentence_transformers.CrossEncoder` that is loaded already.

        It is used as it is, and stays as it is; only its activation is left out.

        Args:
            model: loaded, or just trained.
            name: for policies; None: the folder or hub name that it was loaded from, so that a
                policy fitted for that fits.

        Raises:
            ConfigError: the model gives more than one number a pair.
        """
        made = cls.__new__(cls)
        inside = getattr(model, "model", None)
        found = getattr(inside, "name_or_path", "") if name is None else name
        made._take(
            model, found or type(inside).__name__, "", (partial(cls.of_model, name=name), (model,))
        )
        return made

    def _take(self, model: Any, name: str, revision: str, rebuild: tuple[Any, ...]) -> None:
        from torch.nn import Identity

        if model.num_labels != 1:
            raise ConfigError(
                f"cross-encoder {name!r} has {model.num_labels} outputs a pair; a reranker "
                "needs exactly one relevance score. Pass a function that takes the relevant "
                "column: scorer=lambda query, texts: model.predict([(query, t) for t in texts])"
                "[:, 1]"
            )
        self._rebuild = rebuild
        self._model = model
        self._activation = Identity()
        self._limit: int | None = model.max_seq_length
        # Fast tokenizers change their own truncation settings while they are called, so two
        # threads in one tokenizer fail with "Already borrowed".
        self._lock = threading.Lock()
        folder = Path(name)
        weights = folder / "model.safetensors"
        self.info = ScorerInfo(
            id=f"cross-encoder/{folder.name if folder.is_dir() else name}",
            scale="logit",
            revision=revision,
            weights=file_sha256(weights) if weights.is_file() else "",
            backend="torch",
            dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
            max_length=self._limit,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return self._rebuild

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's fast tokenizer, where it has one; `Windowed.for_scorer` cuts by it."""
        backend: Tokenizer | None = getattr(self._model.tokenizer, "backend_tokenizer", None)
        return backend

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """Logits, unbounded; chunks of 8 texts, the clock is read between them."""
        ctx = ScoreContext() if context is None else context
        query, texts = checked_texts(query, texts)
        n = len(texts)
        values = np.zeros(n, dtype=np.float32)
        scored = np.zeros(n, dtype=np.bool_)
        stats = ScoreStats(calls=1)
        for start in range(0, n, _CHUNK):
            if ctx.should_stop:
                break
            part = [(query, t) for t in texts[start : start + _CHUNK]]
            with self._lock:
                stats = stats + self._count(part)
                chunk = self._model.predict(
                    part,
                    show_progress_bar=False,
                    batch_size=_CHUNK,
                    activation_fn=self._activation,
                )
            values[start : start + len(part)] = np.asarray(chunk, dtype=np.float32).reshape(-1)
            scored[start : start + len(part)] = True
        return Scores(values=values, scale="logit", scored=scored, stats=stats)

    def score_many(self, jobs: Sequence[Job], context: ScoreContext | None = None) -> list[Scores]:
        """`score` for several queries, one after the other."""
        return [self.score(job.query, job.texts, context) for job in jobs]

    def _count(self, pairs: Sequence[tuple[str, str]]) -> ScoreStats:
        """Tokens and truncations, which the library does silently."""
        encoded = self._model.tokenizer(
            [q for q, _ in pairs], [t for _, t in pairs], truncation=False, verbose=False
        )
        lengths = [len(ids) for ids in encoded["input_ids"]]
        limit = max(lengths) if self._limit is None else self._limit
        return ScoreStats(
            pairs=len(pairs),
            windows=len(pairs),
            truncated=sum(length > limit for length in lengths),
            tokens=sum(min(length, limit) for length in lengths),
        )
