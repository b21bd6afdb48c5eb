"""The course of a training: its looks, its end, and files that a killed process leaves whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankgate.errors import ConfigError

__all__ = ["HistoryPoint", "Report", "RunFolder", "TrainingResult"]

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and the total."""

_FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """One look during training.

    Attributes:
        step: steps done.
        train_loss: mean over the steps since the look before; None before the first.
        held_out_loss: on lists of training questions that are not learned from.
        ndcg: of the policy's order, on the half of dev that chooses.
        by_corpus: the same for each corpus.
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
        steps: done in all.
        seconds: spent in this process.
    """

    history: tuple[HistoryPoint, ...]
    best_step: int
    stopped: str
    steps: int
    seconds: float


class RunFolder:
    """What one training writes: settings, checkpoints, the best model so far, its history.

    Every file is written beside its place and moved there, so it is the old or the new one.

    Args:
        folder: where; made if need be.
    """

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
        """Write a JSON file whole."""
        text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        self.write(self.folder / name, lambda file: file.write_text(text, "utf-8"))

    def write(self, target: Path, writer: Callable[[Path], object]) -> None:
        """Let `writer` write a file, put safely on the disk and into its place."""
        staging = target.with_name(f".{target.name}.part")
        writer(staging)
        with staging.open("rb") as stream:
            os.fsync(stream.fileno())
        staging.replace(target)
