"""How a training is run, and what is usual for how much data."""

from __future__ import annotations

from dataclasses import dataclass

from rankgate.errors import ConfigError, InputError
from rankgate.retrieve import DEFAULT_K

__all__ = ["TrainingSettings", "full_settings", "query_settings"]

_LEAST = 50
_AT_LEAST_ONE = (
    "lists", "epochs", "batch", "micro_batch", "evaluate_every", "checkpoint_every", "negatives",
    "depth", "mine_pool",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Everything but data and model that the result depends on.

    Attributes:
        lists: an epoch.
        epochs: at most; an early stop may end sooner.
        batch: lists a step.
        micro_batch: lists that are computed at once; more need more memory, the sum is the same.
        learning_rate: highest; it rises over the first steps and falls to zero in a line.
        warmup: share of all steps in which it rises.
        weight_decay: of AdamW, not on biases and norms.
        clip: largest norm of a gradient.
        temperature: of the corpora; see `corpus_shares`.
        negatives: mined passages a list.
        randoms: random passages a list.
        depth: how far down the first stage mined passages are taken.
        spoiled: share of questions with typos or speech errors.
        mine_again: first epoch (from 0) in which a cross-encoder chooses its negatives among
            `mine_pool`; None: never.
        mine_pool: mined passages from which it chooses, a list.
        evaluate_every: steps between looks at dev.
        patience: looks without a gain after which training stops; None: it never stops early.
        checkpoint_every: steps between checkpoints; what lies behind the last is lost by a kill.
        prior: whether the first stage's part of the order is added to the scores in the loss.
        seed: of everything.

    Raises:
        ConfigError: a number out of its range.
    """

    lists: int = 6000
    epochs: int = 2
    batch: int = 8
    micro_batch: int = 8
    learning_rate: float = 5e-5
    warmup: float = 0.06
    weight_decay: float = 0.01
    clip: float = 1.0
    temperature: float = 2.0
    negatives: int = 4
    randoms: int = 1
    depth: int = 20
    spoiled: float = 0.15
    mine_again: int | None = None
    mine_pool: int = 12
    evaluate_every: int = 200
    patience: int | None = 4
    checkpoint_every: int = 50
    prior: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        optional = ("mine_again", "patience")
        for name in (*_AT_LEAST_ONE, *optional):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be 1 or more, got {value}")
        if not 0.0 < self.learning_rate < 1.0:
            raise ConfigError(f"learning_rate must be in (0, 1), got {self.learning_rate}")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"warmup must be in [0, 1), got {self.warmup}")
        if self.clip <= 0.0 or self.weight_decay < 0.0:
            raise ConfigError("clip must be above 0, and weight_decay 0 or more")

    @property
    def steps_an_epoch(self) -> int:
        """The last one may hold fewer lists."""
        return -(-self.lists // self.batch)

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.epochs * self.steps_an_epoch

    def rate_at(self, step: int) -> float:
        """Learning rate of a step (from 0)."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * (self.steps - step) / max(1, self.steps - rising)


def full_settings(questions: int, *, adapting: bool, seed: int = 0) -> TrainingSettings:
    """For a cross-encoder; with `adapting` each question about four times and a gentle rate.

    Args:
        questions: that can be learned from.
        adapting: small data.
        seed: of the training.

    Raises:
        InputError: fewer than 50 with `adapting`.
    """
    if not adapting:
        return TrainingSettings(mine_again=1, seed=seed)
    lists = _lists(questions)
    batch = 8 if lists >= 400 else 4
    return TrainingSettings(
        lists=lists,
        epochs=4,
        batch=batch,
        micro_batch=batch,
        learning_rate=2e-5,
        warmup=0.1,
        mine_again=2,
        evaluate_every=max(1, -(-lists // batch) // 2),
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
        prior=True,
        evaluate_every=max(1, -(-lists // batch) // 2),
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
