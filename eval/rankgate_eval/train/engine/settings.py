"""How a training is run."""

from __future__ import annotations

from dataclasses import dataclass

from rankgate.errors import ConfigError

__all__ = ["TrainingSettings"]


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
        mine_again: first epoch (from 0) whose negatives the model chooses; None: never.
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
    mine_again: int | None = 1
    mine_pool: int = 12
    evaluate_every: int = 200
    patience: int | None = 4
    checkpoint_every: int = 50
    prior: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lists", "epochs", "batch", "micro_batch", "evaluate_every"):
            self._at_least(name, 1)
        for name in ("checkpoint_every", "mine_pool", "negatives", "depth"):
            self._at_least(name, 1)
        if self.mine_again is not None:
            self._at_least("mine_again", 1)
        if self.patience is not None:
            self._at_least("patience", 1)
        if not 0.0 < self.learning_rate < 1.0:
            raise ConfigError(f"learning_rate must be in (0, 1), got {self.learning_rate}")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"warmup must be in [0, 1), got {self.warmup}")
        if self.clip <= 0.0 or self.weight_decay < 0.0:
            raise ConfigError("clip must be above 0, and weight_decay 0 or more")

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value < least:
            raise ConfigError(f"{name} must be {least} or more, got {value}")

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
