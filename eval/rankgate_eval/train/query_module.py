"""The torch module behind `rankgate_eval.train.query`; importing this needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from rankgate.encoders.encoder import TokenVectors
from rankgate.encoders.packing import PackedVectors, packed, rotation, unpacked


class QueryModule(torch.nn.Module):
    """The layers of a sentence encoder that read questions, and the slope of their scores.

    Only the layers and the slope are parameters and state: word embeddings belong to the encoder
    that reads the passages, so a checkpoint does not hold them and no gradient reaches them. It
    is never in training mode, because with dropout a question would be compared with passages
    that were read without.

    Args:
        body: a copy of the encoder's transformer (`rankgate_eval.train.query.torch_body`).
    """

    # The slope lies near 25 and the layers' weights near 0.05: one rate cannot suit both.
    paces: ClassVar[dict[str, float]] = {"scale": 1e4}

    def __init__(self, body: Any) -> None:
        super().__init__()
        for part in body.embeddings.modules():
            for name, parameter in part.named_parameters(recurse=False):
                # The same memory, but not the encoder's own parameter: that keeps its flags.
                part.register_parameter(
                    name, torch.nn.Parameter(parameter.detach(), requires_grad=False)
                )
        self.encoder = body.encoder
        self.scale = torch.nn.Parameter(torch.tensor(25.0))
        self._body = (body,)  # in a tuple, so that torch does not take it for a part
        self.train(False)

    def train(self, mode: bool = True) -> QueryModule:
        """Does nothing with True; see the class."""
        super().train(False)
        return self

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(n, t, d) unit vectors of the tokens for (n, t) inputs."""
        (body,) = self._body
        hidden = body(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=torch.zeros_like(input_ids),
        ).last_hidden_state
        return torch.nn.functional.normalize(hidden, dim=-1)

    def window_scores(
        self, query: torch.Tensor, passages: Sequence[TokenVectors | PackedVectors], *, window: int
    ) -> torch.Tensor:
        """(n,) what `TokenHead.scores` gives as it comes, times the scale, with gradients.

        Args:
            query: (q, d) the question's tokens.
            passages: n of them; those without a token get the lowest cosine.
            window: tokens of a window; it slides by half of them.
        """
        if not query.shape[0]:
            return torch.zeros(len(passages))
        nothing = torch.full((len(passages),), -1.0) * self.scale.detach()
        compact = [packed(p) for p in passages]
        filled = [i for i, p in enumerate(compact) if len(p)]
        if not filled:
            return nothing
        half, count = window // 2, query.shape[0]
        lengths = np.array([len(compact[i]) for i in filled])
        blocks = -(-lengths // half)
        starts = np.concatenate([[0], np.cumsum(blocks)[:-1]])
        block_of = torch.from_numpy(
            np.concatenate([np.arange(n) // half + s for n, s in zip(lengths, starts, strict=True)])
        )
        owner = torch.from_numpy(np.repeat(np.arange(len(filled)), blocks))
        tokens = unpacked([compact[i] for i in filled], query.shape[1])
        turned = query @ torch.from_numpy(rotation(query.shape[1]).copy())
        similar = (torch.from_numpy(tokens) @ turned.T).clamp(-1.0, 1.0)
        low = similar.detach().min() - 1.0
        best = low.expand(owner.shape[0], count).scatter_reduce(
            0, block_of[:, None].expand(-1, count), similar, "amax"
        )
        whole = low.expand(len(filled), count).scatter_reduce(
            0, owner[:, None].expand(-1, count), best, "amax"
        )
        weights = query.new_full((count,), 1.0 / count)
        inside = owner[1:] == owner[:-1]
        paired = torch.maximum(best[:-1], best[1:])[inside]
        windows = torch.cat([paired, best]) @ weights
        windowed = low.expand(len(filled)).scatter_reduce(
            0, torch.cat([owner[:-1][inside], owner]), windows, "amax"
        )
        found = self.scale * (0.5 * windowed + 0.5 * (whole @ weights))
        if len(filled) == len(passages):
            return found
        nothing[filled] = found
        return nothing
