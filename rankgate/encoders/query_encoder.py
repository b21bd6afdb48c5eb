"""An encoder for questions alone; passages stay as the sentence encoder has read them.

Late interaction compares a question's tokens with stored ones. So the question's side can learn
- what a question of this domain is about, how it is misspelt - while every stored vector, the
index and the ingested folder stay as they are: no re-indexing, and 15 tokens to compute instead
of 50 passages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rankgate.encoders.bert import layer_shapes
from rankgate.encoders.encoder import TokenEncoder, TokenVectors
from rankgate.encoders.locate import file_sha256
from rankgate.encoders.once import loaded_once
from rankgate.errors import ConfigError, ModelNotFoundError, WeightsMismatchError
from rankgate.texts import whole_file

__all__ = ["QueryEncoder", "in_order", "save_query_layers"]

_FORMAT = "1"
_MOST_BYTES = 30_000_000


class QueryEncoder:
    """Reads questions with layers of its own; word embeddings are shared with the encoder.

    Made by `load`. Thread-safe as `TokenEncoder` is; pickled as its file and hash.

    Attributes:
        file: what `save_query_layers` wrote, as an absolute path.
        encoder: whose passages it was tuned for.
    """

    def __init__(
        self, file: Path, sha256: str, encoder: TokenEncoder, reader: TokenEncoder
    ) -> None:
        self.file = file
        self.sha256 = sha256
        self.encoder = encoder
        self._reader = reader

    @classmethod
    def load(
        cls, file: str | Path, encoder: TokenEncoder, *, sha256: str | None = None
    ) -> QueryEncoder:
        """Read layers, once a process for each file and encoder; nothing in it is executed.

        A file that was changed since gives new layers; who has the old ones keeps them.

        Args:
            file: as `save_query_layers` wrote it.
            sha256: of the file; None: not checked.

        Raises:
            ModelNotFoundError: no such file.
            WeightsMismatchError: another file, or layers for another encoder.
            ConfigError: not a file of such layers.
        """
        source = Path(file)
        if not source.is_file():
            raise ModelNotFoundError(
                f"no query encoder at {source}: train one with `rankgate train DATA --method query`"
                ", or set scorer = late-interaction"
            )
        found = file_sha256(source)
        if sha256 is not None and found != sha256:
            raise WeightsMismatchError(
                f"{source} has sha256 {found}, expected {sha256}: it is damaged or another file; "
                "reinstall rankgate, or give the file's own sha256"
            )
        return _kept(source.resolve(), found, encoder)

    @classmethod
    def _parsed(cls, source: Path, sha256: str, encoder: TokenEncoder) -> QueryEncoder:
        state, about = _read(source)
        if about.get("encoder") != encoder.sha256:
            raise WeightsMismatchError(
                f"{source} was tuned for the encoder {about.get('encoder', '')[:12]}, and the one "
                f"in use is {encoder.sha256[:12]}: use that encoder, or train for this one"
            )
        wanted = layer_shapes(encoder.shape)
        if set(state) != set(wanted):
            wrong = sorted(set(state) ^ set(wanted))[0]
            raise ConfigError(f"{source} does not hold the layers of the encoder: {wrong}")
        other = next((n for n, dims in wanted.items() if state[n].shape != dims), None)
        if other is not None:
            raise ConfigError(
                f"{source} holds layers of another shape: {other} is {state[other].shape}, "
                f"expected {wanted[other]}"
            )
        return cls(source, sha256, encoder, encoder.with_layers(state))

    def __reduce__(self) -> tuple[Any, ...]:
        # With the hash: what is loaded elsewhere must be the same file.
        return (_loaded, (self.file, self.encoder, self.sha256))

    def encode(
        self, texts: Sequence[str], *, should_stop: Callable[[], bool] | None = None
    ) -> list[TokenVectors]:
        """Encode questions, as `TokenEncoder.encode` does; `pooled` is not for passage search."""
        return self._reader.encode(texts, should_stop=should_stop)


def _loaded(file: Path, encoder: TokenEncoder, sha256: str) -> QueryEncoder:
    return QueryEncoder.load(file, encoder, sha256=sha256)


@loaded_once
def _kept(file: Path, sha256: str, encoder: TokenEncoder) -> QueryEncoder:
    # Every collection of an application has its scorer; the layers take 43 MB.
    return QueryEncoder._parsed(file, sha256, encoder)


def save_query_layers(state: Mapping[str, npt.ArrayLike], file: str | Path, *, encoder: str) -> str:
    """Write the layers of a tuned copy of the encoder, in float16; the file's sha256.

    Args:
        state: of the copy, as numpy takes it; what is no layer (embeddings, pooler) is left out.
        encoder: sha256 of the encoder that was copied.

    Raises:
        ConfigError: no layers, values that are not finite in float16, or more than 30 MB.
    """
    with np.errstate(over="ignore"):  # what is too large is found below
        layers = {
            n: np.ascontiguousarray(values, dtype=np.float16)
            for n, values in state.items()
            if "encoder.layer." in n
        }
    if not layers:
        raise ConfigError("the state holds no encoder.layer.* tensor")
    wild = next((n for n, values in layers.items() if not np.isfinite(values).all()), None)
    if wild is not None:
        raise ConfigError(f"{wild} holds values that are not finite in float16")
    raw = in_order(save(layers, metadata={"format": _FORMAT, "encoder": encoder}))
    if len(raw) > _MOST_BYTES:
        raise ConfigError(f"the layers take {len(raw)} bytes, {_MOST_BYTES} are allowed")
    target = Path(file)
    with whole_file(target) as part:
        part.write_bytes(raw)
    return file_sha256(target)


def in_order(raw: bytes) -> bytes:
    """The same file with sorted metadata: safetensors writes them in a random order."""
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return raw[:8] + text.ljust(end - 8) + raw[end:]


def _read(source: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    try:
        with safe_open(str(source), framework="np") as data:
            about = dict(data.metadata() or {})
            state = {name: data.get_tensor(name) for name in data.keys()}
    except (SafetensorError, OSError, TypeError) as exc:  # TypeError: a type that numpy lacks
        raise ConfigError(f"{source} is not a query encoder: {exc}") from exc
    if about.get("format") != _FORMAT:
        raise ConfigError(f"{source} has format {about.get('format')!r}, not {_FORMAT!r}")
    return state, about
