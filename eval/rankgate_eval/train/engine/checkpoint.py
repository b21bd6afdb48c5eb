"""Files of a training run that a killed process leaves whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rankgate.errors import ConfigError

__all__ = ["RunFolder"]

_FORMAT = 1


class RunFolder:
    """What one training writes: settings, checkpoint, the best model so far, its history.

    Every file is written beside its place and moved there, so it is the old or the new one.

    Args:
        folder: where; made if need be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """Weights, optimizer and place of the last checkpoint."""
        return self.folder / "checkpoint.pt"

    @property
    def best(self) -> Path:
        """The best model so far, by dev."""
        return self.folder / "best"

    def begin(self, identity: Mapping[str, Any], *, resume: bool) -> bool:
        """Claim the folder for a training; whether there is a checkpoint to go on from.

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
        return self.checkpoint.is_file()

    def write_json(self, name: str, data: Any) -> None:
        """Write a JSON file whole."""
        text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        self.write(self.folder / name, lambda file: file.write_text(text, "utf-8"))

    def read_json(self, name: str) -> Any | None:
        """Read a JSON file; None where there is none."""
        file = self.folder / name
        return json.loads(file.read_text("utf-8")) if file.is_file() else None

    def write(self, target: Path, writer: Callable[[Path], object]) -> None:
        """Let `writer` write a file, put safely on the disk and into its place."""
        staging = target.with_name(f".{target.name}.part")
        writer(staging)
        with staging.open("rb") as stream:
            os.fsync(stream.fileno())
        staging.replace(target)
