"""Encodes (query, passage) pairs for a cross-encoder, thread-safely, with truncations counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from rankgate.errors import ConfigError

__all__ = ["PairBatch", "PairEncoder", "share_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBatch:
    """Model inputs for n pairs, padded on the right to the longest of them (t tokens).

    Attributes:
        input_ids, attention_mask, token_type_ids: (n, t) int64.
        truncated: pairs of which the end was cut off.
        tokens: real tokens, padding not counted.
    """

    input_ids: npt.NDArray[np.int64]
    attention_mask: npt.NDArray[np.int64]
    token_type_ids: npt.NDArray[np.int64]
    truncated: int
    tokens: int


def share_tokens(first: int, second: int, budget: int) -> tuple[int, int]:
    """How many tokens of each sequence are kept: the longer one is cut first.

    The same result as taking one token at a time from the longer sequence ("longest first" of
    the tokenizers library), which is how cross-encoders are trained.
    """
    if first + second <= budget:
        return first, second
    short, long = min(first, second), max(first, second)
    if short > budget // 2:
        short = budget // 2
    long = min(long, budget - short)
    return (short, long) if first <= second else (long, short)


class PairEncoder:
    """A tokenizer.json with its post-processor: special tokens come from its own template.

    Truncation and padding of the tokenizer are switched off once, here, and never touched
    again: switching them for each call is what makes shared fast tokenizers fail with "Already
    borrowed".

    Args:
        max_length: tokens of query and passage together, special ones included.
        pad_id: fills up shorter rows; the model never sees it, the mask hides it.

    Raises:
        ConfigError: the file is no tokenizer, or max_length leaves no room for text.
    """

    def __init__(self, file: Path, *, max_length: int, pad_id: int) -> None:
        try:
            self.tokenizer = Tokenizer.from_file(str(file))
        except Exception as exc:  # the native library raises plain Exception
            raise ConfigError(f"{file} is not a tokenizer: {exc}") from exc
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.max_length = max_length
        self._pad_id = pad_id
        self._budget = max_length - self.tokenizer.num_special_tokens_to_add(True)
        if self._budget < 2:
            raise ConfigError(f"max_length {max_length} leaves no room for query and passage")

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, special ones not counted."""
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, query: str, texts: Sequence[str]) -> PairBatch:
        """Encode the query with each text; at least one text, all of them clean Unicode."""
        passages = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        whole = self.tokenizer.encode(query, add_special_tokens=False)
        rows: list[Encoding] = []
        truncated = 0
        for passage in passages:
            wanted = len(whole.ids), len(passage.ids)
            kept = share_tokens(*wanted, self._budget)
            head = whole
            if kept != wanted:
                truncated += 1
                passage.truncate(kept[1])
                if kept[0] < wanted[0]:
                    # Truncating changes the object, and the other passages need it whole.
                    head = self.tokenizer.encode(query, add_special_tokens=False)
                    head.truncate(kept[0])
            rows.append(self.tokenizer.post_process(head, passage, True))
        width = max(len(row.ids) for row in rows)
        ids = np.full((len(rows), width), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        types = np.zeros((len(rows), width), dtype=np.int64)
        for i, row in enumerate(rows):
            n = len(row.ids)
            ids[i, :n], mask[i, :n], types[i, :n] = row.ids, 1, row.type_ids
        return PairBatch(
            input_ids=ids,
            attention_mask=mask,
            token_type_ids=types,
            truncated=truncated,
            tokens=int(mask.sum()),
        )
