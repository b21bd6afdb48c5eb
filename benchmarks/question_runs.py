"""What the benchmarks of the application's questions share: first stage, options, result.

They measure one split at a time, and write it beside what the file has of the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from corpus_index import CorpusIndex

from rag_app.ask.first_stage import HybridFirstStage
from rankgate import Policy
from rankgate.types import FirstStageKind
from rankgate_eval.stats.significance import compare

__all__ = ["Index", "difference", "first_stage", "options", "write_part"]


class Index:
    """A benchmark's corpus as the application's first stage sees a store."""

    def __init__(self, corpus: CorpusIndex) -> None:
        self.corpus = corpus
        self.embedder = corpus.encoder
        self.bm25 = corpus.bm25

    def dense(self, vector: Any, k: int) -> dict[str, float]:
        """The k closest passages."""
        cosines = self.corpus.pooled @ np.asarray(vector)
        best = np.argsort(-cosines, kind="stable")[:k]
        return {self.corpus.ids[i]: float(cosines[i]) for i in best}

    def cosines(self, vector: Any, ids: Sequence[str]) -> list[float]:
        """Cosines of these passages."""
        rows = [self.corpus.position[i] for i in ids]
        return [float(v) for v in self.corpus.pooled[rows] @ np.asarray(vector)]

    def present(self, ids: Sequence[str]) -> set[str]:
        """All of them."""
        return set(ids)

    def fetch(self, ids: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
        """Their texts."""
        return [(self.corpus.data.corpus[i], {}) for i in ids]


def first_stage(corpus: CorpusIndex) -> HybridFirstStage:
    """The application's own, with the default policy's fusion."""
    return HybridFirstStage(Index(corpus), Policy.default().section(FirstStageKind.HYBRID).fusion)


def options(description: str | None) -> argparse.ArgumentParser:
    """The options that all of them have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--cache", type=Path, required=True, help="folder of token vectors")
    parser.add_argument("--split", choices=("dev", "test"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def difference(
    before: Sequence[float], after: Sequence[float], clusters: Sequence[str]
) -> dict[str, float]:
    """The mean of `after` less that of `before`, with its interval."""
    d = compare(before, after, clusters=clusters, seed=0)
    return {n: round(getattr(d, n), 4) for n in ("mean", "low", "high", "p")}


def write_part(
    out: Path,
    script: str,
    split: str,
    part: Mapping[str, Any],
    markdown: Callable[[Mapping[str, Any]], str],
) -> None:
    """Write one part beside what the file has of the other, and show all of it."""
    file = out.with_suffix(".json")
    result: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    result |= {
        "command": f"python benchmarks/{script} --data DATA --cache CACHE --split SPLIT "
        f"--out {out}",
        "commit": commit,
        "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs",
    }
    result["splits"] = {**result.get("splits", {}), split: part}
    file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    out.with_suffix(".md").write_text(markdown(result), "utf-8")
    print(markdown(result))
