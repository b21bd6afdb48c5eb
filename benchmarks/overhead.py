"""Times what rankgate adds to a query besides the scorer: signals, gate, ordering, floor.

python benchmarks/overhead.py --out eval/results/overhead
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rankgate import Action, Policy, Reranker, ScorerInfo, Scores
from rankgate.decide.signals import compute_signals
from rankgate.testing import candidates_of
from rankgate.types import FirstStageKind


class Instant:
    """A scorer that costs nothing, on the default policy's scale."""

    def __init__(self, n: int, seed: int) -> None:
        profile = Policy.default().section(FirstStageKind.HYBRID).profile
        self.info = ScorerInfo(id=profile.scorer or "", scale=profile.scale or "")
        self.values = np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)

    def score(self, query: str, texts: list[str], context: object = None) -> Scores:
        """The same values each time."""
        return Scores.full(self.values[: len(texts)], self.info.scale)


def quantiles(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Milliseconds of one call: median, 95th and 99th percentile."""
    for _ in range(repeats // 10):
        call()
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        spent.append((time.perf_counter() - begun) * 1000.0)
    return {f"p{q}": round(float(np.percentile(spent, q)), 4) for q in (50, 95, 99)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    query = "which enzymes does the drug inhibit in the liver after surgery"
    rows: dict[str, Any] = {}
    for k in (20, 50, 100):
        candidates = candidates_of(
            [f"passage number {i} about enzymes" for i in range(k)],
            dense=rng.uniform(0.1, 0.7, k).tolist(),
            bm25=rng.uniform(0.0, 20.0, k).tolist(),
        )
        policy = Policy.default().with_section(FirstStageKind.HYBRID, k=k)
        reranker = Reranker(Instant(k, args.seed), policy=policy, first_stage="hybrid")
        gate = policy.section(FirstStageKind.HYBRID).gate
        lexicon = frozenset(query.split())

        def decide(candidates: Any = candidates, gate: Any = gate, lexicon: Any = lexicon) -> Any:
            return gate.decide(compute_signals(query, candidates, lexicon=lexicon))

        def whole(force: Action, r: Any = reranker, c: Any = candidates) -> Any:
            return r.rerank(query, c, force=force)

        rows[f"K={k}"] = {
            "signals_and_gate_ms": quantiles(decide, args.repeats),
            "all_but_scorer_reranked_ms": quantiles(lambda: whole(Action.RERANK), args.repeats),
            "all_but_scorer_skipped_ms": quantiles(lambda: whole(Action.SKIP), args.repeats),
        }
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "command": f"python benchmarks/overhead.py --repeats {args.repeats} --seed {args.seed}",
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "seed": args.seed,
        "n": args.repeats,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, shared machine",
        "rows": rows,
    }
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
