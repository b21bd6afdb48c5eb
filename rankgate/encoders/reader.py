"""A reader of question and passage together: is the answer in there, and is a statement borne out?

Late interaction compares two texts that were read apart, so it knows the topic. Here the first
five layers of all-MiniLM, tuned, read "[CLS] question [SEP] passage [SEP]" in one go; four numbers
say whether the passage answers a question, and whether it bears a statement out.

What ships is the difference to the encoder's own layers, four bits a number: a tuned layer differs
little from what it was, so little is lost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tokenizers import Tokenizer

from rankgate.encoders.bert import BertShape, bert_graph, layer_shapes, read_tensors
from rankgate.encoders.encoder import TokenEncoder
from rankgate.encoders.locate import file_sha256
from rankgate.encoders.once import loaded_once
from rankgate.encoders.query_encoder import in_order
from rankgate.encoders.runtime import Runtime
from rankgate.errors import ConfigError, ModelNotFoundError, WeightsMismatchError
from rankgate.texts import FUNCTION_WORDS, clean_text

__all__ = [
    "OUTPUTS",
    "JointInput",
    "JointReader",
    "Reading",
    "joint_input",
    "padded",
    "reader_shape",
    "save_reader",
]

FloatArray = npt.NDArray[np.float32]

OUTPUTS = ("answers", "supports", "contradicts", "tells_nothing")
"""Logits of a reading: the first alone is of a question, the others, together, of a statement."""

LENGTH = 144
_LAYERS = 5
"""Of the encoder's six: the last knows most of meaning as a whole, and time is short."""
_QUESTION = 40
_TITLE = 12
_STEP = 8
_FORMAT = "1"
_GROUP = 64
_CHUNK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class JointInput:
    """One question and one passage as the layers get them.

    Attributes:
        ids: token ids.
        kinds: of each: 0 a mark, 1 question, 2 passage, 3 passage and a content word of the
            question.
        places: for each token of the passage, its (start, end) characters in the passage.
        first: where the passage's tokens begin.
    """

    ids: tuple[int, ...]
    kinds: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    first: int


@functools.lru_cache(maxsize=4)
def _marks(tokenizer: Tokenizer) -> tuple[int, int, frozenset[int]]:
    words = tokenizer.encode_batch_fast(sorted(FUNCTION_WORDS), add_special_tokens=False)
    telling_nothing = {i for e in words for i in e.ids}
    signs = (tokenizer.token_to_id(c) for c in "?.,;:!()[]{}'\"-/")
    telling_nothing |= {i for i in signs if i is not None}
    # The encoder has refused a tokenizer without these.
    cls, sep = (tokenizer.token_to_id(name) or 0 for name in ("[CLS]", "[SEP]"))
    return cls, sep, frozenset(telling_nothing)


def joint_input(
    tokenizer: Tokenizer, question: str, passage: str, *, around: tuple[int, int] | None = None
) -> JointInput:
    """Question and passage in one row of at most 144 tokens.

    Of a long passage its beginning, where a title stands, and the part with most of the
    question's content words are read.

    Args:
        question: or a statement.
        around: characters of the passage that have to be read, for training.
    """
    cls, sep, nothing = _marks(tokenizer)
    asked = tokenizer.encode(clean_text(question), add_special_tokens=False).ids[:_QUESTION]
    text = tokenizer.encode(clean_text(passage), add_special_tokens=False)
    room = LENGTH - 3 - len(asked)
    content = {i for i in asked if i not in nothing}
    chosen = np.arange(len(text.ids))
    if chosen.size > room:
        chosen = _part(text.ids, content, room, text.offsets, around)
    ids, kinds, places = [cls, *asked, sep], [0, *[1] * len(asked), 0], []
    for at in chosen.tolist():
        ids.append(text.ids[at])
        kinds.append(3 if text.ids[at] in content else 2)
        places.append(text.offsets[at])
    return JointInput(
        ids=(*ids, sep), kinds=(*kinds, 0), places=tuple(places), first=len(asked) + 2
    )


def _part(
    ids: Sequence[int],
    content: set[int],
    room: int,
    offsets: Sequence[tuple[int, int]],
    around: tuple[int, int] | None,
) -> npt.NDArray[np.intp]:
    """Places of the title, and of the window with most different content words; in order."""
    width = room - _TITLE
    starts = [*range(0, len(ids) - width, _STEP), len(ids) - width]

    def worth(start: int) -> tuple[bool, int]:
        end = start + width
        inside = around is not None and (
            offsets[start][0] <= around[0] and around[1] <= offsets[end - 1][1]
        )
        return inside, len(content.intersection(ids[start:end]))

    best = max(starts, key=lambda s: (*worth(s), -s))
    if best <= _TITLE:
        return np.arange(room)
    return np.concatenate([np.arange(_TITLE), np.arange(best, best + width)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What the reader says of one pair.

    Attributes:
        logits: (4,) in the order of `OUTPUTS`.
        evidence: (t,) share of each token of the passage in the reading; sums to one.
        places: (start, end) characters of each of these tokens.
    """

    logits: FloatArray
    evidence: FloatArray
    places: tuple[tuple[int, int], ...]

    @property
    def answers(self) -> float:
        """Logit that the passage answers the question."""
        return float(self.logits[0])

    @property
    def stance(self) -> tuple[float, float, float]:
        """Probabilities that a statement is supported, contradicted, neither."""
        z = np.exp(self.logits[1:] - self.logits[1:].max())
        supported, contradicted, neither = (z / z.sum()).tolist()
        return supported, contradicted, neither


class JointReader:
    """Reads pairs of texts in one go; made by `load`. Thread-safe, and pickled as file and hash.

    Attributes:
        file: what `save_reader` wrote, as an absolute path.
        encoder: whose layers it changes.
    """

    def __init__(
        self,
        file: Path,
        sha256: str,
        encoder: TokenEncoder,
        run: Runtime,
        heads: Mapping[str, FloatArray],
    ) -> None:
        self.file = file
        self.sha256 = sha256
        self.encoder = encoder
        self._run = run
        self._heads = heads

    @classmethod
    def load(
        cls, file: str | Path, encoder: TokenEncoder, *, sha256: str | None = None
    ) -> JointReader:
        """Read a reader, once a process for each file and encoder; nothing in it is executed.

        Raises:
            ModelNotFoundError: no such file.
            WeightsMismatchError: another file, or a reader for another encoder.
            ConfigError: not a file of such a reader.
        """
        source = Path(file)
        if not source.is_file():
            raise ModelNotFoundError(f"no reader at {source}")
        found = file_sha256(source)
        if sha256 is not None and found != sha256:
            raise WeightsMismatchError(
                f"{source} has sha256 {found}, expected {sha256}: it is damaged or another file"
            )
        return _kept(source.resolve(), found, encoder)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_kept, (self.file, self.sha256, self.encoder))

    def read(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[Reading]:
        """One reading a (question or statement, passage), in input order.

        Args:
            should_stop: looked at between chunks of 8; once it is true the list is a shorter
                prefix.
        """
        found: list[Reading] = []
        for start in range(0, len(pairs), _CHUNK):
            if should_stop is not None and should_stop():
                break
            chunk = [joint_input(self.encoder.tokenizer, *p) for p in pairs[start : start + _CHUNK]]
            found += self._read(chunk)
        return found

    def _read(self, inputs: Sequence[JointInput]) -> Iterator[Reading]:
        ids, kinds, mask = padded(inputs)
        x = self.encoder.embeddings.of(ids) + self._heads["kinds"][kinds]
        hidden = self._run(x, mask)
        for row, one in enumerate(inputs):
            inside = hidden[row, one.first : one.first + len(one.places)]
            whole = hidden[row, : len(one.ids)]
            scores = inside @ self._heads["evidence"]
            scores = np.exp(scores - scores.max(initial=0.0))
            share = scores / scores.sum() if scores.size else scores
            pooled = np.concatenate([whole[0], whole.mean(axis=0), share @ inside])
            logits = self._heads["outputs"] @ pooled + self._heads["bias"]
            yield Reading(logits=logits, evidence=share, places=one.places)


def padded(
    inputs: Sequence[JointInput],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """(b, t) ids, kinds and mask of several inputs; what pads is masked."""
    width = max(len(one.ids) for one in inputs)
    ids = np.zeros((len(inputs), width), dtype=np.int64)
    kinds = np.zeros_like(ids)
    mask = np.zeros(ids.shape, dtype=np.float32)
    for row, one in enumerate(inputs):
        n = len(one.ids)
        ids[row, :n], kinds[row, :n], mask[row, :n] = one.ids, one.kinds, 1.0
    return ids, kinds, mask


@loaded_once
def _kept(file: Path, sha256: str, encoder: TokenEncoder) -> JointReader:
    try:
        with safe_open(str(file), framework="np") as data:
            about = dict(data.metadata() or {})
            saved = {name: data.get_tensor(name) for name in data.keys()}
    except (SafetensorError, OSError, TypeError) as exc:  # TypeError: a type that numpy lacks
        raise ConfigError(f"{file} is not a reader: {exc}") from exc
    if about.get("format") != _FORMAT:
        raise ConfigError(f"{file} has format {about.get('format')!r}, not {_FORMAT!r}")
    if about.get("encoder") != encoder.sha256:
        raise WeightsMismatchError(
            f"{file} was made for the encoder {about.get('encoder', '')[:12]}, and the one in use "
            f"is {encoder.sha256[:12]}"
        )
    heads = {n: saved[f"heads.{n}"].astype(np.float32) for n in _HEADS}
    shape = reader_shape(encoder)
    shapes = layer_shapes(shape)
    if file_sha256(file) != sha256:
        raise WeightsMismatchError(f"{file} was changed while it was read")

    def graph() -> bytes:
        layers = read_tensors(encoder.files.folder / "model.safetensors", shapes)
        return bert_graph(
            {n: layers[n] + _widened(saved, n, size) for n, size in shapes.items()}, shape
        )

    return JointReader(file, sha256, encoder, Runtime(graph), heads)


def reader_shape(encoder: TokenEncoder) -> BertShape:
    """Of the layers that a reader has."""
    return replace(encoder.shape, layers=min(_LAYERS, encoder.shape.layers))


_HEADS = ("kinds", "evidence", "outputs", "bias")


def save_reader(
    changes: Mapping[str, npt.ArrayLike],
    heads: Mapping[str, npt.ArrayLike],
    file: str | Path,
    *,
    encoder: str,
) -> str:
    """Write what a reader's layers differ by, in four bits, and its heads; the file's sha256.

    Args:
        changes: by the names of `layer_shapes`: the tuned layer less the encoder's.
        heads: `kinds` (4, d), `evidence` (d,), `outputs` (4, 3 d), `bias` (4,).
        encoder: sha256 of the encoder.
    """
    kept: dict[str, npt.NDArray[Any]] = {
        f"heads.{n}": np.ascontiguousarray(heads[n], dtype=np.float16) for n in _HEADS
    }
    for name, values in changes.items():
        change = np.asarray(values, dtype=np.float32)
        if change.ndim == 1:
            kept[name] = change.astype(np.float16)
            continue
        groups = change.reshape(-1, _GROUP)
        scale = np.maximum(np.abs(groups).max(axis=1, keepdims=True) / 7.5, 1e-8)
        scale = scale.astype(np.float16).astype(np.float32)
        codes = np.clip(np.round(groups / np.maximum(scale, 1e-8) + 7.5), 0, 15).astype(np.uint8)
        kept[f"{name}.codes"] = codes[:, 0::2] | codes[:, 1::2] << 4
        kept[f"{name}.scale"] = scale[:, 0].astype(np.float16)
    raw = save(kept, metadata={"encoder": encoder, "format": _FORMAT})
    target = Path(file)
    target.write_bytes(in_order(raw))
    return file_sha256(target)


def _widened(
    saved: Mapping[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...]
) -> FloatArray:
    """What `save_reader` has packed of a layer."""
    if len(shape) == 1:
        return saved[name].astype(np.float32)
    codes, scale = saved[f"{name}.codes"], saved[f"{name}.scale"].astype(np.float32)
    groups = np.empty((len(codes), _GROUP), dtype=np.float32)
    groups[:, 0::2], groups[:, 1::2] = codes & 15, codes >> 4
    found: FloatArray = ((groups - np.float32(7.5)) * scale[:, None]).reshape(shape)
    return found
