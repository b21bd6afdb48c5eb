"""Settings for small data: a few hundred pairs bend a model, they do not make one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankgate.errors import InputError
from rankgate.retrieve import DEFAULT_K
from rankgate_eval.train.engine.settings import TrainingSettings

if TYPE_CHECKING:
    import torch

__all__ = ["adapting_settings", "freeze_embeddings", "query_settings"]

_LEAST = 50


def adapting_settings(questions: int, *, seed: int = 0, negatives: int = 4) -> TrainingSettings:
    """Each question about four times, a gentle rate, and a look at dev twice an epoch.

    Args:
        questions: that can be learned from.
        seed: of the training.
        negatives: mined passages a list.

    Raises:
        InputError: fewer than 50: what is learned from those is their accidents.
    """
    lists = _lists(questions)
    batch = 8 if lists >= 400 else 4
    steps = -(-lists // batch)
    return TrainingSettings(
        lists=lists,
        epochs=4,
        batch=batch,
        micro_batch=batch,
        learning_rate=2e-5,
        warmup=0.1,
        negatives=negatives,
        mine_again=2,
        evaluate_every=max(1, steps // 2),
        patience=4,
        checkpoint_every=25,
        seed=seed,
    )


def query_settings(questions: int, *, seed: int = 0) -> TrainingSettings:
    """For question layers: all candidates in each list, few epochs, many spoiled questions.

    Passages cost nothing once they are stored, so nothing is gained by drawing some of them,
    nor by letting the model choose.

    Args:
        questions: that can be learned from.
        seed: of the training.

    Raises:
        InputError: fewer than 50.
    """
    lists = _lists(questions)
    batch = 16 if lists >= 160 else 8
    steps = -(-lists // batch)
    return TrainingSettings(
        lists=lists,
        epochs=3 if lists <= 1000 else 2 if lists <= 3000 else 1,
        batch=batch,
        micro_batch=8,
        learning_rate=3e-5,
        warmup=0.1,
        negatives=45,
        randoms=3,
        depth=DEFAULT_K,
        spoiled=0.3,
        mine_again=None,
        prior=True,
        evaluate_every=max(1, steps // 2),
        patience=4,
        checkpoint_every=25,
        seed=seed,
    )


def _lists(questions: int) -> int:
    if questions < _LEAST:
        raise InputError(
            f"{questions} questions to learn from are too few: adapting needs {_LEAST} at least, "
            "and 300 to be of use. Label more, or give documents without labels beside them."
        )
    return min(questions, 5000)


def freeze_embeddings(module: torch.nn.Module) -> int:
    """Take the word embeddings out of the training; how many parameters that were.

    Half of a small model's parameters are words, most of which a small data set never shows.
    """
    frozen = 0
    for name, parameter in module.named_parameters():
        if "embeddings." in name:
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    return frozen
