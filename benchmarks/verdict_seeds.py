"""How often a scorer of known worth ships: calibrated on dev, judged on test, seed by seed.

    python benchmarks/verdict_seeds.py --seeds 200 --n 60 124 300 --out seeds.json

Every seed makes a data set of its own: `n` questions in dev and as many in test, each with 20
candidates of its own, of which the first is relevant, two questions a document. Cosine and BM25
know it a little, so that their fitted sum orders better than the first stage as it came. Scorers:
`noise` (random numbers), `harmful` (the better a passage, the lower), `equal` (the first stage's
own fused score) and `good`. Then `calibrate` on dev and `evaluate` on test, as the commands do.
Seeds that are done are kept in the output file, and a run goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from rankgate.bounds import clopper_pearson
from rankgate.scorers import ScoreContext, ScorerInfo, Scores
from rankgate.types import Candidate
from rankgate_eval.calibrate.calibration import calibrate
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.evaluation import evaluate

SCORERS = ("noise", "harmful", "equal", "good")
DEPTH = 20
_KNOWS = {"noise": 0.0, "harmful": -3.0, "equal": 0.0, "good": 1.2}


class Planted:
    """Scores by passage text, drawn beforehand."""

    def __init__(self, kind: str, scores: dict[str, float]) -> None:
        self.info = ScorerInfo(id=f"planted:{kind}", scale="planted")
        self._scores = scores

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """The planted numbers, whatever the query: every passage is of one question."""
        return Scores.full(np.array([self._scores[t] for t in texts]), "planted")


def world(kind: str, seed: int, n: int) -> tuple[Dataset, dict[str, list[Candidate]], Planted]:
    """Data set, first-stage lists by question text, and the scorer."""
    rng = np.random.default_rng([seed, n])
    corpus, queries, qrels, lists, scores = {}, {}, {}, {}, {}
    for i in range(2 * n):
        truth = np.eye(DEPTH)[0]
        ease = rng.exponential(1.0)
        dense = 0.3 + 0.1 * (rng.normal(size=DEPTH) + 1.2 * ease * truth)
        bm25 = np.maximum(0.0, 20.0 + 8.0 * (rng.normal(size=DEPTH) + 1.2 * truth))
        # As it came: reciprocal ranks of both lists, which throw the distances away.
        fused = sum(1.0 / (60.0 + np.argsort(np.argsort(-s)) + 1.0) for s in (dense, bm25))
        raw = fused * 1000.0 if kind == "equal" else rng.normal(size=DEPTH) + _KNOWS[kind] * truth
        texts = [f"document {i} passage {j} of seed {seed}" for j in range(DEPTH)]
        query = f"what is the colour of thing {i}"
        ids = [f"p{i}.{j}" for j in range(DEPTH)]
        corpus.update(zip(ids, texts, strict=True))
        scores.update(zip(texts, raw.tolist(), strict=True))
        queries[f"q{i}"], qrels[f"q{i}"] = query, {ids[0]: 1}
        lists[query] = [
            Candidate(id=ids[j], text=texts[j], rank=r, dense=float(dense[j]), bm25=float(bm25[j]))
            for r, j in enumerate(np.argsort(-fused, kind="stable").tolist(), start=1)
        ]
    data = Dataset(
        name=f"planted-{kind}-{n}-{seed}",
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        splits={
            "dev": tuple(f"q{i}" for i in range(n)),
            "test": tuple(f"q{i}" for i in range(n, 2 * n)),
        },
        documents={f"p{i}.{j}": f"d{i // 2}" for i in range(2 * n) for j in range(DEPTH)},
    )
    return data, lists, Planted(kind, scores)


def one(kind: str, seed: int, n: int) -> dict[str, object]:
    """Calibrated on dev, judged on test."""
    data, lists, scorer = world(kind, seed, n)

    def stage(query: str, k: int) -> list[Candidate]:
        return lists[query][:k]

    from rankgate_eval.run.system import as_first_stage

    found = calibrate(
        data, stage=as_first_stage(stage, data=data), scorer=scorer, split="dev", k=DEPTH, seed=seed
    )
    result = evaluate(
        data, stage=stage, scorer=scorer, policy=found.policy, split="test", seed=seed,
        k=DEPTH, depth=DEPTH, resamples=1000, permutations=1999,
    )  # fmt: skip
    gain = {
        arm: round(result.differences[f"policy-{arm}"]["ndcg@10"].mean, 5)
        for arm in ("tuned_first_stage", "skipped")
    }
    return {
        "verdict": result.verdict.value,
        "skip_rate": round(result.skip_rate, 4),
        "fitted": list(found.fitted),
        "gain": gain,
    }


def main() -> None:
    """Run what is not there yet, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--n", type=int, nargs="+", default=[60, 124, 300])
    parser.add_argument("--scorer", nargs="+", default=list(SCORERS), choices=SCORERS)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("verdict_seeds.json"))
    asked = parser.parse_args()
    done = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    jobs = [
        (kind, seed, n)
        for n in asked.n
        for seed in range(asked.seeds)
        for kind in asked.scorer
        if f"{kind}/{n}/{seed}" not in done
    ]
    begun = time.perf_counter()
    with ProcessPoolExecutor(asked.workers) as pool:
        for at, (job, found) in enumerate(
            zip(jobs, pool.map(one, *zip(*jobs, strict=True)) if jobs else (), strict=True)
        ):
            done["{}/{}/{}".format(job[0], job[2], job[1])] = found
            if at % 20 == 19 or at == len(jobs) - 1:
                asked.out.write_text(json.dumps(done, indent=0) + "\n")
                print(f"{at + 1}/{len(jobs)} in {time.perf_counter() - begun:.0f} s", flush=True)
    print("| scorer | n | seeds | ship of any kind | don't ship | not enough data | skips |")
    print("|---|---|---|---|---|---|---|")
    for kind in asked.scorer:
        for n in asked.n:
            rows = [
                done[f"{kind}/{n}/{s}"] for s in range(asked.seeds) if f"{kind}/{n}/{s}" in done
            ]
            calls = Counter(row["verdict"] for row in rows)
            ships = calls["ship"] + calls["ship_behind_gate"]
            low, high = clopper_pearson(ships, len(rows))
            skips = np.mean([row["skip_rate"] for row in rows])
            print(
                f"| {kind} | {n} | {len(rows)} | {ships / len(rows):.1%} [{low:.1%}, {high:.1%}] | "
                f"{calls['dont_ship'] / len(rows):.1%} | "
                f"{calls['not_enough_data'] / len(rows):.1%} | {skips:.0%} |"
            )


if __name__ == "__main__":
    main()
