"""Closeness of sentences to a question, from token vectors that are already there.

Ingestion keeps the token vectors of each indexed text for the reranker. A sentence is a range
of them, so it is compared by MaxSim (ColBERT: Khattab and Zaharia, SIGIR 2020, arXiv
2004.12832) without going through a model: only the question does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from rag_app.generate.context import SourceText
from rankgate.encoders.encoder import TokenVectors
from rankgate.encoders.packing import PackedVectors, packed
from rankgate.encoders.token_store import TokenStore
from rankgate.scorers.late_interaction import maxsim
from rankgate.texts import clean_text


@runtime_checkable
class TokenReader(Protocol):
    """An encoder that gives token vectors, as `rankgate.encoders.TokenEncoder` does."""

    @property
    def tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer`, without truncation."""

    def encode(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Token vectors of each text, special tokens left out."""


class Closeness:
    """Measures how close spans of sources are to questions.

    Args:
        reader: the encoder that embedded the passages.
        token_store: their token vectors; a text that it does not hold is encoded. None: all.
    """

    def __init__(self, reader: TokenReader, token_store: TokenStore | None = None) -> None:
        self._reader = reader
        self._token_store = token_store

    def __call__(
        self, questions: Sequence[str], spans: Sequence[tuple[SourceText, int, int]]
    ) -> npt.NDArray[np.float64]:
        """(n, q) MaxSim of n spans to q questions, in [-1, 1].

        NaN where less than half of a span's tokens is known, because the passage is longer
        than the encoder reads.

        Args:
            questions: the question and its parts.
            spans: source, and start and end in its `body`, in characters.
        """
        asked = [v.tokens.astype(np.float32) for v in self._reader.encode(list(questions))]
        known = self._vectors([source.text for source, _, _ in spans])
        starts = {text: self._token_starts(text) for text in known}
        read: list[int] = []
        ranges: list[PackedVectors] = []
        for i, (source, low, high) in enumerate(spans):
            vectors = known[source.text]
            shift = source.body_offset
            first, last = np.searchsorted(starts[source.text], (low + shift, high + shift))
            part = vectors.part(first, last)
            if len(part) and 2 * len(part) >= last - first:
                read.append(i)
                ranges.append(part)
        result = np.full((len(spans), len(questions)), np.nan)
        if read:
            for column, tokens in enumerate(asked):
                result[read, column] = maxsim(tokens, ranges)
        return result

    def _vectors(self, texts: Sequence[str]) -> dict[str, PackedVectors]:
        unique = list(dict.fromkeys(texts))
        known = {} if self._token_store is None else self._token_store.get_many(unique)
        absent = [t for t in unique if t not in known]
        if absent:
            known.update(zip(absent, map(packed, self._reader.encode(absent)), strict=True))
        return known

    def _token_starts(self, text: str) -> npt.NDArray[np.int64]:
        """(t,) where each token begins, in characters; cleaning keeps every place."""
        offsets = self._reader.tokenizer.encode(clean_text(text), add_special_tokens=False).offsets
        return np.array([low for low, _ in offsets], dtype=np.int64)
