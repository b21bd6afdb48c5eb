"""How a training is run and what is usual for how much data; its looks, its end, its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankgate.errors import ConfigError, InputError
from rankgate.retrieve import DEFAULT_K
from rankgate.texts import whole_file

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
        if self.randoms < 0:
            raise ConfigError(f"randoms must be 0 or more, got {self.randoms}")
        if not 0.0 <= self.spoiled <= 1.0:
            raise ConfigError(f"spoiled is a share in [0, 1], got {self.spoiled}")
        if self.clip <= 0.0 or self.weight_decay < 0.0:
            raise ConfigError("clip must be above 0, and weight_decay 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What the user asked for.

    Attributes:
        method: `query`, the layers that read questions for late interaction, or `full`, a
            cross-encoder that reads question and passage together.
        start: see `load_query_ranker` and `full.load_cross_encoder`.
        settings: of the training; its `prior` is for `query` alone.
        max_length: of a cross-encoder, tokens of query and passage together; None: 256.
        adapting: small data: a cross-encoder's word embeddings stay as they are.
        margin: of the rule by which likely answers are left out; see `MarginRule`.
        dev_questions: of a corpus in each half of dev, at most.
        kept_back: training questions of a corpus for fitting the order, at most.
        int8: whether to export int8 beside float32.
        device: `cpu`, `cuda`, ...
        bfloat16: compute in bfloat16 under autocast.
        allow_hub: whether the hub may be asked for `start`.
        resume: go on with what is in `out`.
        time_limit: seconds of training; None: until it is done.
    """

    out: Path
    method: str = "query"
    start: str = "minilm"
    settings: TrainingSettings
    max_length: int | None = None
    adapting: bool = False
    margin: float = 0.95
    candidates: int = 50
    dev_questions: int = 150
    kept_back: int = 100
    int8: bool = True
    device: str = "cpu"
    bfloat16: bool = False
    allow_hub: bool = False
    resume: bool = False
    time_limit: float | None = None
    command: str = "rankgate train"


def full_settings(questions: int, *, adapting: bool, seed: int = 0) -> TrainingSettings:
    """For a cross-encoder; with `adapting` each question about four times and a gentle rate.

    Args:
        adapting: small data.

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


Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and the total."""

_FORMAT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """One look during training.

    Attributes:
        step: steps done.
        train_loss: mean over the steps since the look before; None before the first.
        held_out_loss: on lists of training questions that are not learned from.
        ndcg: of the policy's order, on the half of dev that chooses.
    """

    step: int
    train_loss: float | None
    held_out_loss: float
    ndcg: float
    by_corpus: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        history: every look, the untrained model's first.
        best_step: step of the model in `best/`; 0: the one that training started from.
        stopped: `finished`, `early` (no more gain on dev) or `time` (to be resumed).
    """

    history: tuple[HistoryPoint, ...]
    best_step: int
    stopped: str
    steps: int
    seconds: float


class RunFolder:
    """What one training writes: settings, checkpoints, the best model so far, its history."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def best(self) -> Path:
        """The best model so far, by dev."""
        return self.folder / "best"

    def begin(self, identity: Mapping[str, Any], *, resume: bool) -> bool:
        """Claim the folder for a training; whether one is there to go on with.

        Args:
            identity: settings and data fingerprints: what must be equal for a resumed training
                to be the same training.
            resume: go on with what is there.

        Raises:
            ConfigError: a run is there and `resume` is off, or it is another training's.
        """
        file = self.folder / "run.json"
        now = json.loads(json.dumps({"format": _FORMAT, **identity}))
        if not file.is_file():
            self.write_json("run.json", now)
            return False
        if not resume:
            raise ConfigError(
                f"{self.folder} already holds a training: resume it (--resume), or give an empty "
                "folder"
            )
        before = json.loads(file.read_text("utf-8"))
        changed = sorted(k for k in {*now, *before} if now.get(k) != before.get(k))
        if changed:
            raise ConfigError(
                f"{self.folder} holds another training: {', '.join(changed)} differ. A training "
                "is resumed with the same data and settings; for others give another folder."
            )
        return True

    def write_json(self, name: str, data: Any) -> None:
        """Write a JSON file, put safely on the disk and into its place."""
        with (
            whole_file(self.folder / name) as part,
            part.open("w", encoding="utf-8") as stream,
        ):
            stream.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
