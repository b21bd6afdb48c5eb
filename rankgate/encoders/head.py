"""A small head over late interaction; the encoder and stored passage vectors stay as they are.

Everything that it learns is applied to the question's tokens or to the similarities, so a token
store that was filled without it serves it too.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankgate.encoders.encoder import TokenVectors
from rankgate.errors import ConfigError, ModelNotFoundError, WeightsMismatchError

__all__ = ["TokenHead"]

FloatArray = npt.NDArray[np.float32]
_FORMAT = 1
_MOST_BYTES = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenHead:
    """How similarities of tokens become one score.

    score = mix * max over windows of s(window) + (1 - mix) * s(whole passage), where s(part) is
    the mean, weighted by salience, over the question's tokens of the best similarity in that
    part. Windows are `window` tokens long and overlap by half. With mix 0, no salience and no
    matrix this is plain MaxSim.

    Attributes:
        encoder: sha256 of the encoder that it was trained for.
        window: tokens of a window, even, at least 2.
        mix: share of the best window, in [0, 1].
        salience: (d,) a question token's weight is exp(token . salience), normalised; None: all
            weigh the same.
        matrix: (d, d) a question token q is compared as q + q @ matrix; None: as q.
    """

    encoder: str
    window: int = 32
    mix: float = 0.5
    salience: FloatArray | None = None
    matrix: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.window < 2 or self.window % 2:
            raise ConfigError(f"window must be an even number of tokens, got {self.window}")
        if not 0.0 <= self.mix <= 1.0:
            raise ConfigError(f"mix must be in [0, 1], got {self.mix}")
        for name in ("salience", "matrix"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ConfigError(f"the head's {name} holds values that are not finite")

    def scores(self, query: FloatArray, passages: Sequence[TokenVectors]) -> FloatArray:
        """(n,) scores; -1 for a passage without tokens, 0 for all where the question has none.

        Without a matrix they are within [-1, 1].
        """
        result = np.full(len(passages), -1.0, dtype=np.float32)
        if query.shape[0] == 0:
            result[:] = 0.0
            return result
        filled = [i for i, p in enumerate(passages) if p.tokens.shape[0]]
        if not filled:
            return result
        asked = query if self.matrix is None else query + query @ self.matrix
        weights = self._weights(query)
        lengths = np.array([passages[i].tokens.shape[0] for i in filled])
        stacked = np.concatenate([passages[i].tokens for i in filled]).astype(np.float32)
        similar = stacked @ asked.T
        half = self.window // 2
        blocks = -(-lengths // half)
        first_token = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        first_block = np.concatenate([[0], np.cumsum(blocks)[:-1]])
        starts = np.concatenate(
            [at + half * np.arange(n) for at, n in zip(first_token, blocks, strict=True)]
        )
        best = np.maximum.reduceat(similar, starts, axis=0)
        whole = np.maximum.reduceat(best, first_block, axis=0) @ weights
        # A window is two blocks that follow each other; the last block of a passage stands alone,
        # which never beats the window that ends with it.
        pairs = best.copy()
        pairs[:-1] = np.maximum(best[:-1], best[1:])
        pairs[first_block + blocks - 1] = best[first_block + blocks - 1]
        windowed = np.maximum.reduceat(pairs @ weights, first_block)
        result[filled] = self.mix * windowed + (1.0 - self.mix) * whole
        return result

    def _weights(self, query: FloatArray) -> FloatArray:
        if self.salience is None:
            return np.full(query.shape[0], 1.0 / query.shape[0], dtype=np.float32)
        raw = query @ self.salience
        weights: FloatArray = np.exp(raw - raw.max())
        weights /= weights.sum()
        return weights

    @property
    def sha256(self) -> str:
        """Of the saved form: equal heads have equal hashes."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def save(self, file: str | Path) -> str:
        """Write the head; its sha256, to be given to `load`.

        Raises:
            ConfigError: it is larger than 2 MB.
        """
        raw = self._bytes()
        if len(raw) > _MOST_BYTES:
            raise ConfigError(f"the head takes {len(raw)} bytes, {_MOST_BYTES} are allowed")
        target = Path(file)
        staging = target.with_name(f".{target.name}.part")
        staging.write_bytes(raw)
        staging.replace(target)
        return hashlib.sha256(raw).hexdigest()

    def _bytes(self) -> bytes:
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "format": np.array(_FORMAT),
            "encoder": np.array(self.encoder),
            "window": np.array(self.window),
            "mix": np.array(self.mix, dtype=np.float64),
        }
        for name in ("salience", "matrix"):
            value = getattr(self, name)
            if value is not None:
                arrays[name] = value.astype(np.float32)
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **arrays)
        return stream.getvalue()

    @classmethod
    def load(
        cls, file: str | Path, *, sha256: str | None = None, encoder: str | None = None
    ) -> TokenHead:
        """Read a head; nothing in the file is executed.

        Args:
            file: as `save` wrote it.
            sha256: of the file; None: not checked.
            encoder: sha256 of the encoder that it will serve; None: not checked.

        Raises:
            ModelNotFoundError: no such file.
            ConfigError: not a head.
            WeightsMismatchError: another file, or a head of another encoder.
        """
        source = Path(file)
        if not source.is_file():
            raise ModelNotFoundError(f"no head at {source}")
        raw = source.read_bytes()
        found = hashlib.sha256(raw).hexdigest()
        if sha256 is not None and found != sha256:
            raise WeightsMismatchError(f"{source} has sha256 {found}, expected {sha256}")
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as data:
                if int(data["format"]) != _FORMAT:
                    raise ConfigError(f"{source} has format {data['format']}, not {_FORMAT}")
                head = cls(
                    encoder=str(data["encoder"]),
                    window=int(data["window"]),
                    mix=float(data["mix"]),
                    salience=data["salience"] if "salience" in data else None,
                    matrix=data["matrix"] if "matrix" in data else None,
                )
        except ConfigError:
            raise
        except Exception as exc:  # whatever a damaged archive makes zipfile or numpy raise
            raise ConfigError(f"{source} is not a head of late interaction: {exc}") from exc
        if encoder is not None and head.encoder != encoder:
            raise WeightsMismatchError(
                f"{source} was trained for the encoder {head.encoder[:12]}, and the one in use is "
                f"{encoder[:12]}: use that encoder, or train a head for this one"
            )
        return head
