"""A sentence encoder that gives every token's vector, and their mean, from one forward pass."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rankgate.encoders.bert import BertShape, bert_graph, layer_shapes, read_tensors
from rankgate.encoders.locate import ModelFiles, find_minilm
from rankgate.encoders.once import loaded_once
from rankgate.encoders.runtime import Runtime
from rankgate.errors import ConfigError
from rankgate.texts import clean_text

__all__ = ["Embeddings", "TokenEncoder", "TokenVectors", "without_progress_bar"]

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
    """all-MiniLM-L6-v2, or a BERT that is saved in the same form; run by `Runtime`, without torch.

    Thread-safe: the tokenizer's truncation and padding are never switched on, which is what
    makes shared fast tokenizers fail with "Already borrowed".
    """

    def __init__(
        self,
        files: ModelFiles,
        shape: BertShape,
        embeddings: Embeddings,
        run: Runtime,
        tokenizer: Tokenizer,
    ) -> None:
        self.files = files
        self.name = files.name
        self.sha256 = files.sha256
        self.shape = shape
        self.tokenizer = tokenizer
        self.max_length = _MAX_LENGTH
        self.dimension = shape.hidden
        self.embeddings = embeddings
        self._run = run
        ends = [tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")]
        if None in ends:
            raise ConfigError(
                f"{files.folder}: the tokenizer has no [CLS] and [SEP], as BERT's has"
            )
        self._cls, self._sep = (int(i) for i in ends if i is not None)

    @classmethod
    def load(cls, path: str | Path | None = None, *, allow_hub: bool = False) -> TokenEncoder:
        """The encoder, loaded once a process for each folder.

        Args:
            path: folder of a saved model; None: all-MiniLM-L6-v2 as `find_minilm` finds it.
            allow_hub: whether the Hugging Face hub may be asked.

        Raises:
            ModelNotFoundError: no weights.
            WeightsMismatchError: not the published weights.
            ConfigError: not a BERT, or its files are damaged.
        """
        files = find_minilm(path, allow_hub=allow_hub)
        return _loaded(files)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_loaded, (self.files,))

    def with_layers(self, layers: Mapping[str, npt.NDArray[Any]]) -> TokenEncoder:
        """An encoder with layers of its own, by `layer_shapes`, over this one's embeddings."""
        run = Runtime(lambda: bert_graph(layers, self.shape))
        return TokenEncoder(self.files, self.shape, self.embeddings, run, self.tokenizer)

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
            read = self._forward([rows[i] for i in batch], limit)
            done.update(zip(batch, read, strict=True))
        return [done[i] for i in range(len(rows)) if i in done]

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d) unit vectors, one a text: sentence-transformers' mean pooling."""
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([v.pooled for v in self.encode(texts)])

    def _forward(self, rows: Sequence[Sequence[int]], limit: int) -> list[TokenVectors]:
        cut = [[self._cls, *ids[: limit - 2], self._sep] for ids in rows]
        width = max(len(ids) for ids in cut)
        ids = np.zeros((len(cut), width), dtype=np.int64)  # what pads is masked: any id will do
        mask = np.zeros((len(cut), width), dtype=np.float32)
        for row, values in enumerate(cut):
            ids[row, : len(values)] = values
            mask[row, : len(values)] = 1.0
        hidden = self._run(self.embeddings.of(ids), mask)
        weights = mask[:, :, None]
        pooled = _units((hidden * weights).sum(1) / weights.sum(1))
        units = _units(hidden).astype(np.float16)
        return [
            TokenVectors(
                tokens=units[row, 1 : len(values) - 1].copy(),
                pooled=pooled[row].copy(),
                truncated=len(rows[row]) > limit - 2,
            )
            for row, values in enumerate(cut)
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embeddings:
    """What BERT's first layer reads: word, position and segment 0, summed and normed.

    Attributes:
        words: (vocabulary, d) float32.
        places: (longest, d) float32, of positions, that of the segment added.
        weight, bias: (d,) of the layer norm.
        epsilon: likewise.
    """

    words: npt.NDArray[np.float32]
    places: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    epsilon: float

    @classmethod
    def read(cls, weights: Path, epsilon: float) -> Embeddings:
        """From a saved model.

        Raises:
            ConfigError: they are not there.
        """
        names = [f"embeddings.{n}" for n in ("word_embeddings.weight", "position_embeddings.weight",
                 "token_type_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")]  # fmt: skip
        found = read_tensors(weights, names)
        words, places, kinds, weight, bias = (found[n].astype(np.float32) for n in names)
        return cls(
            words=words, places=places + kinds[:1], weight=weight, bias=bias, epsilon=epsilon
        )

    def of(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(b, t, d) for (b, t) ids."""
        x = self.words[ids] + self.places[: ids.shape[1]]
        x -= x.mean(axis=-1, keepdims=True)
        x /= np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self.epsilon))
        normed: npt.NDArray[np.float32] = x * self.weight + self.bias
        return normed


def _units(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    units: npt.NDArray[np.float32] = rows / np.maximum(length, np.float32(1e-12))
    return units


@loaded_once
def _loaded(files: ModelFiles) -> TokenEncoder:
    weights = files.folder / "model.safetensors"
    try:
        config = json.loads((files.folder / "config.json").read_text("utf-8"))
        tokenizer = Tokenizer.from_file(str(files.folder / "tokenizer.json"))
    except Exception as exc:  # the tokenizer's errors have no base but Exception
        raise ConfigError(
            f"{files.folder} is not the folder of a saved encoder: its config.json or "
            f"tokenizer.json cannot be read ({exc})"
        ) from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    shape = BertShape.of_config(config)
    run = Runtime(lambda: bert_graph(read_tensors(weights, layer_shapes(shape)), shape))
    return TokenEncoder(files, shape, Embeddings.read(weights, shape.epsilon), run, tokenizer)


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
