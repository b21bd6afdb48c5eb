"""The embedder: what ingestion and retrieval need of an encoder, and where it comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rankgate.encoders.locate import find_minilm
from rankgate.retrieve import TokenReader

if TYPE_CHECKING:
    from rag_app.settings import Settings

# Raised whenever the same file would be parsed to another text or other blocks.
PARSER_VERSION = 3
# Raised whenever the same document would be cut differently.
CHUNKER_VERSION = 2


class Tokenizer(Protocol):
    """The part of `tokenizers.Tokenizer` that chunking uses."""

    def encode(self, sequence: Any, *, add_special_tokens: bool = True) -> Any:
        """An encoding with `ids` and `offsets`."""

    def encode_batch(self, input: Any, *, add_special_tokens: bool = True) -> Any:
        """One encoding a text."""

    def to_str(self) -> str:
        """All of it, as JSON."""


class Embedder(TokenReader, Protocol):
    """An encoder as `rankgate.encoders.TokenEncoder` is one.

    Attributes:
        max_length: tokens it reads, special ones included.
        tokenizer: without truncation and padding.
    """

    max_length: int

    @property
    def tokenizer(self) -> Tokenizer:
        """Counts and locates tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which embedder it is; two with the same hash give the same vectors."""

    name: str
    sha256: str


def identify(settings: Settings, embedder: Embedder | None = None) -> Identity:
    """Which embedder the settings mean, without loading it.

    Raises:
        ModelNotFoundError: no weights.
        WeightsMismatchError: not the published ones.
    """
    if embedder is not None:
        return Identity(name=embedder.name, sha256=embedder.sha256)
    files = find_minilm(settings.embedder_path)
    return Identity(name=files.name, sha256=files.sha256)


def load_embedder(settings: Settings) -> Embedder:
    """The embedder of the settings; loaded once a process.

    Raises:
        ConfigError: its weights or libraries are not there.
    """
    from rankgate.encoders.encoder import TokenEncoder

    encoder: Embedder = TokenEncoder.load(settings.embedder_path)
    return encoder


def pipeline_version(*, chunking: str, embedder: Identity) -> str:
    """Version of everything that shapes chunks: parsers, chunker, sizes, tokenizer."""
    parts = (
        f"parser={PARSER_VERSION};chunker={CHUNKER_VERSION}:{chunking};embedder={embedder.sha256}"
    )
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
