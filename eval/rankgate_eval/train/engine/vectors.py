"""Passages' token vectors for what is trained over them: read once, kept, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankgate.encoders.encoder import TokenEncoder, TokenVectors
from rankgate.encoders.token_store import TokenStore

if TYPE_CHECKING:
    import torch

    from rankgate_eval.train.engine.modules import HeadModule

__all__ = ["KeptVectors", "window_scores"]


class KeptVectors:
    """An encoder with a memory.

    Args:
        encoder: reads what is not known.
        store: keeps vectors on disk; None: in memory, for as long as this lives.
    """

    def __init__(self, encoder: TokenEncoder, store: TokenStore | None = None) -> None:
        self.encoder = encoder
        self.store = store
        self._memory: dict[str, TokenVectors] = {}

    def get(self, texts: Sequence[str]) -> dict[str, TokenVectors]:
        """The vectors of each text, by text."""
        wanted = list(dict.fromkeys(texts))
        if self.store is None:
            known = {t: self._memory[t] for t in wanted if t in self._memory}
        else:
            known = self.store.get_many(wanted)
        absent = [t for t in wanted if t not in known]
        fresh = dict(zip(absent, self.encoder.encode(absent), strict=True))
        if self.store is None:
            self._memory |= fresh
        else:
            self.store.put_many(fresh)
        return known | fresh


def window_scores(
    module: HeadModule, query: torch.Tensor, passages: Sequence[TokenVectors], *, window: int
) -> torch.Tensor:
    """(n,) what `TokenHead.scores` gives, times the module's scale, with gradients.

    Args:
        module: mixes the best window with the whole passage.
        query: (q, d) the question's tokens.
        passages: n of them.
        window: tokens of a window.
    """
    import torch

    filled = [i for i, p in enumerate(passages) if p.tokens.shape[0]]
    if not query.shape[0]:
        return torch.zeros(len(passages))
    nothing = torch.full((len(passages),), -1.0) * module.scale.detach()
    if not filled:
        return nothing
    stacked = np.concatenate([passages[i].tokens for i in filled]).astype(np.float32)
    half = window // 2
    lengths = [passages[i].tokens.shape[0] for i in filled]
    blocks = [-(-n // half) for n in lengths]
    first = np.concatenate([[0], np.cumsum(blocks)[:-1]])
    block_of = np.concatenate(
        [np.arange(n) // half + at for n, at in zip(lengths, first, strict=True)]
    )
    owner = np.repeat(np.arange(len(filled)), blocks)
    found: torch.Tensor = module(
        query, torch.from_numpy(stacked), torch.from_numpy(block_of), torch.from_numpy(owner)
    )
    if len(filled) == len(passages):
        return found
    nothing[filled] = found
    return nothing
