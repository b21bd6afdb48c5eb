"""The list-wise loss: the passage that answers against all others of its list at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankgate.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["list_loss"]


def list_loss(scores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over lists of -log softmax of the first score (ListNet with one relevant passage).

    Chance is log(n) for n passages; only differences within a list count. (Cao et al., ICML
    2007, DOI 10.1145/1273496.1273513.)

    Args:
        scores: one (n,) tensor a list, the positive first; lists may differ in length.

    Raises:
        InputError: no list.
    """
    import torch

    if not scores:
        raise InputError("the loss needs at least one list")
    # In float32 whatever the model computes in: bfloat16 has three digits.
    losses = [torch.logsumexp(s.float(), dim=0) - s.float()[0] for s in scores]
    return torch.stack(losses).mean()
