"""A sentence encoder that gives every token's vector, and their mean, from one forward pass."""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rankgate.encoders.forking import survive_fork
from rankgate.encoders.locate import ModelFiles, find_minilm
from rankgate.errors import MissingExtraError
from rankgate.texts import clean_text

if TYPE_CHECKING:
    import torch

__all__ = ["TokenEncoder", "TokenVectors", "without_progress_bar"]

_MAX_LENGTH = 256
_CHUNK = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVectors:
    """One text, read by the encoder.

    Attributes:
        tokens: (t, d) float16, unit rows: the text's own tokens, special tokens left out.
        pooled: (d,) float32, unit length: the mean over all tokens, special ones included, as
            sentence-transformers computes it.
        truncated: whether the text was longer than the encoder reads.
    """

    tokens: npt.NDArray[np.float16]
    pooled: npt.NDArray[np.float32]
    truncated: bool


class TokenEncoder:
    """all-MiniLM-L6-v2 (or a model saved in the same form), run by torch.

    Thread-safe: the tokenizer's truncation and padding are never switched on, which is what
    makes shared fast tokenizers fail with "Already borrowed".
    """

    def __init__(self, files: ModelFiles, model: Any, tokenizer: Tokenizer) -> None:
        self.files = files
        self.name = files.name
        self.sha256 = files.sha256
        self.tokenizer = tokenizer
        self.max_length = _MAX_LENGTH
        self.dimension = int(model.config.hidden_size)
        self._model = model
        self._pad = int(model.config.pad_token_id)
        self._cls = tokenizer.token_to_id("[CLS]")
        self._sep = tokenizer.token_to_id("[SEP]")

    @classmethod
    def load(cls, path: str | Path | None = None, *, allow_hub: bool = False) -> TokenEncoder:
        """The encoder, loaded once a process for each folder.

        Args:
            path: folder of a saved model; None: all-MiniLM-L6-v2 as `find_minilm` finds it.
            allow_hub: whether the Hugging Face hub may be asked.

        Raises:
            ModelNotFoundError: no weights.
            WeightsMismatchError: not the published weights.
            MissingExtraError: torch or transformers is not installed.
        """
        files = find_minilm(path, allow_hub=allow_hub)
        return _loaded_once(files)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_loaded_once, (self.files,))

    def copied_model(self) -> Any:
        """A copy of the transformer whose word embeddings are this encoder's own, not copied."""
        shared = {id(p): p for p in self._model.embeddings.parameters()}
        return copy.deepcopy(self._model, shared)

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, special ones not counted."""
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(
        self,
        texts: Sequence[str],
        *,
        should_stop: Callable[[], bool] | None = None,
        max_length: int | None = None,
    ) -> list[TokenVectors]:
        """Encode texts, in input order.

        Args:
            texts: any; lone surrogates and NUL are read as spaces.
            should_stop: looked at between chunks; once it is true, the rest is left out and the
                returned list is a shorter prefix.
            max_length: tokens read of a text, special ones included; None: 256.
        """
        import torch

        limit = self.max_length if max_length is None else max_length
        encodings = self.tokenizer.encode_batch_fast(
            [clean_text(t) for t in texts], add_special_tokens=False
        )
        rows = [e.ids for e in encodings]
        # With a clock to watch, chunks follow the input, so that what is read is a prefix;
        # without one, texts of like length share a chunk and little padding is computed.
        order = list(range(len(rows)))
        if should_stop is None:
            order.sort(key=lambda i: len(rows[i]))
        size = _CHUNK if should_stop is None else 8
        done: dict[int, TokenVectors] = {}
        for start in range(0, len(order), size):
            if should_stop is not None and should_stop():
                break
            batch = order[start : start + size]
            with torch.inference_mode():
                for i, vectors in zip(
                    batch, self._forward([rows[i] for i in batch], limit), strict=True
                ):
                    done[i] = vectors
        return [done[i] for i in range(len(rows)) if i in done]

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d) unit vectors, one a text: sentence-transformers' mean pooling."""
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([v.pooled for v in self.encode(texts)])

    def _forward(self, rows: Sequence[Sequence[int]], limit: int) -> list[TokenVectors]:
        import torch

        cut = [[self._cls, *ids[: limit - 2], self._sep] for ids in rows]
        width = max(len(ids) for ids in cut)
        ids = torch.full((len(cut), width), self._pad, dtype=torch.long)
        mask = torch.zeros((len(cut), width), dtype=torch.long)
        for row, values in enumerate(cut):
            ids[row, : len(values)] = torch.tensor(values)
            mask[row, : len(values)] = 1
        hidden: torch.Tensor = self._model(
            input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids)
        ).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        pooled = torch.nn.functional.normalize(pooled, dim=-1)
        units = torch.nn.functional.normalize(hidden, dim=-1).to(torch.float16)
        return [
            TokenVectors(
                tokens=units[row, 1 : len(values) - 1].numpy().copy(),
                pooled=pooled[row].to(torch.float32).numpy().copy(),
                truncated=len(rows[row]) > limit - 2,
            )
            for row, values in enumerate(cut)
        ]


_loading = threading.Lock()


def _loaded_once(files: ModelFiles) -> TokenEncoder:
    with _loading:
        return _loaded(files)


@functools.lru_cache(maxsize=4)
def _loaded(files: ModelFiles) -> TokenEncoder:
    try:
        import torch
        from transformers import AutoModel
    except ImportError as exc:
        raise MissingExtraError("the MiniLM encoder", "torch") from exc
    survive_fork()
    tokenizer = Tokenizer.from_file(str(files.folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    with without_progress_bar():
        model = AutoModel.from_pretrained(
            str(files.folder), local_files_only=True, dtype=torch.float32
        ).eval()
    return TokenEncoder(files, model, tokenizer)


@contextlib.contextmanager
def without_progress_bar() -> Iterator[None]:
    """Silence transformers' progress bar, which a library has no business showing."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
