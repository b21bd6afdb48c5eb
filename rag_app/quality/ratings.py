"""Thumbs for answers: the verdict and its reason, no word of the question or of the documents.

What a thumb says about *passages* goes into the feedback log of `rankgate.feedback`, which
training reads. A thumb down because an answer is incomplete says nothing about its passages, so
not every rating is a judgement.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REASONS = ("sources", "beside_the_point", "incomplete", "outdated")
"""Why a thumb went down; only `sources` speaks about the passages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingCounts:
    """How answers were rated; of several ratings of one answer the latest counts.

    Attributes:
        reasons: of the thumbs down, by code; "" for none given.
    """

    up: int
    down: int
    reasons: dict[str, int]


class Ratings:
    """The ratings of a data folder, in `ratings.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ratings.jsonl"

    def add(self, turn: str, *, up: bool, reason: str = "") -> None:
        """Keep one, in a single write."""
        row = {
            "time": datetime.now(UTC).isoformat(),
            "turn": turn,
            "verdict": "up" if up else "down",
            "reason": reason,
        }
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            stream.write(json.dumps(row).encode() + b"\n")

    def latest(self, turns: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """The latest rating of each answer, by turn; `verdict` is `up` or `down`.

        A line that its writer did not finish is passed over.

        Args:
            turns: only these; None: all.
        """
        found: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            for line in self.path.read_text("utf-8", "replace").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if turns is None or str(row["turn"]) in turns:
                    found[str(row["turn"])] = row
        return found

    def counts(self) -> RatingCounts:
        """Everything that was rated."""
        latest = self.latest()
        down = [r for r in latest.values() if r["verdict"] == "down"]
        return RatingCounts(
            up=len(latest) - len(down),
            down=len(down),
            reasons=dict(Counter(str(r["reason"]) for r in down)),
        )
