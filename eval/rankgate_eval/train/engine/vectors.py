"""Late interaction with gradients, over passages' token vectors that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankgate.encoders.encoder import TokenVectors

if TYPE_CHECKING:
    import torch

    from rankgate_eval.train.engine.modules import HeadModule

__all__ = ["window_scores"]


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
