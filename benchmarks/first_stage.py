"""Compares dense, BM25, fusion and reranking on the train and dev splits of the corpora.

    python benchmarks/first_stage.py --data ../shared/data --out eval/results/first_stage

Writes FILE.json and FILE.md. Never reads a test split. `tuned` is the default policy's
first-stage relevance model: the baseline that a reranker has to beat. `reranked` is the policy
with the gate forced open, `policy` the policy as shipped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import R, nDCG

sys.path.insert(0, str(Path(__file__).parent))
from corpus_index import CorpusIndex

from rankgate import Action, Outcome, Reranker, Status
from rankgate import Path as OutcomePath
from rankgate.encoders import TokenEncoder
from rankgate.retrieve import Fusion
from rankgate.scorers import LateInteractionScorer, ScoreContext, ScorerInfo, Scores
from rankgate_eval.data.dataset import Dataset

CORPORA = ("xquad-en", "nq-oracle", "cranfield", "covid-qa", "pubmedqa", "medquad", "mtrag")
ARMS = ("dense", "bm25", "hybrid", "tuned", "raw", "reranked", "policy")
MEASURES = {"ndcg@10": nDCG @ 10, "recall@5": R @ 5, "recall@50": R @ 50}
Run = dict[str, dict[str, float]]


class KnownScores:
    """The late interaction scorer with scores that retrieval has computed already."""

    def __init__(self, info: ScorerInfo) -> None:
        self.info = info
        self.values: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def score(
        self, query: str, texts: Sequence[str], context: ScoreContext | None = None
    ) -> Scores:
        """The scores set for this query."""
        return Scores.full(self.values[: len(texts)], self.info.scale)


def by_position(ids: Sequence[str]) -> dict[str, float]:
    """A run's scores for an order: only the order counts, and there are no ties."""
    return {identifier: float(len(ids) - i) for i, identifier in enumerate(ids)}


def order_of(outcome: Outcome) -> dict[str, float]:
    """The full order, as if nothing had been refused or dropped."""
    return by_position([p.candidate.id for p in outcome.passages])


def measure(data: Dataset, split: str, limit: int, cache: Path, seed: int) -> dict[str, Any]:
    """All arms on one corpus and split."""
    encoder = TokenEncoder.load()
    default = LateInteractionScorer.load()
    index = CorpusIndex(data, cache, encoder, default)
    scorer = KnownScores(default.info)
    reranker = Reranker(scorer, first_stage="hybrid", lexicon=index.bm25.lexicon)
    if reranker.policy.name != "default":
        raise SystemExit(f"the default policy does not fit {scorer.info.id}")
    queries = data.judged(split)
    step = max(1, len(queries) // limit) if limit else 1
    queries = queries[::step]
    runs: dict[str, Run] = {arm: {} for arm in ARMS}
    skipped = refused = 0
    vectors = encoder.encode([data.queries[q] for q in queries])
    for q, v in zip(queries, vectors, strict=True):
        text = data.queries[q]
        dense, bm25 = index.lists(v, text, 50)
        found = index.retrieve(q, text, v, fusion=Fusion(), k=50, lexicon=index.bm25.lexicon)
        candidates, scorer.values = found.candidates, found.raw
        opened = reranker.rerank(text, candidates, force=Action.RERANK)
        closed = reranker.rerank(text, candidates, force=Action.SKIP)
        decided = reranker.rerank(text, candidates)
        skipped += decided.path is OutcomePath.SKIPPED
        refused += decided.status is Status.REFUSED
        raw = sorted(opened.passages, key=lambda p: (-(p.raw_score or 0.0), p.candidate.rank))
        runs["dense"][q] = by_position(list(dense))
        runs["bm25"][q] = by_position(list(bm25))
        runs["hybrid"][q] = by_position([c.id for c in candidates])
        runs["tuned"][q] = order_of(closed)
        runs["raw"][q] = by_position([p.candidate.id for p in raw])
        runs["reranked"][q] = order_of(opened)
        runs["policy"][q] = order_of(decided)
    qrels = {q: dict(data.qrels[q]) for q in queries}
    values = {arm: per_query(qrels, run, queries) for arm, run in runs.items()}
    rng = np.random.default_rng(seed)
    return {
        "n": len(queries),
        "every": step,
        "arms": {
            arm: {name: round(float(v.mean()), 4) for name, v in found.items()}
            for arm, found in values.items()
        },
        "ndcg@10_difference": {
            f"{a}-{b}": interval(values[a]["ndcg@10"] - values[b]["ndcg@10"], rng)
            for a, b in (("reranked", "tuned"), ("policy", "tuned"), ("policy", "reranked"))
        },
        "skip_rate": round(skipped / len(queries), 4),
        "refused_rate": round(refused / len(queries), 4),
    }


def per_query(
    qrels: Mapping[str, Mapping[str, int]], run: Run, queries: Sequence[str]
) -> dict[str, Any]:
    """(n,) values a measure; a query without results counts 0, it is never left out."""
    table = {name: dict.fromkeys(queries, 0.0) for name in MEASURES}
    names = {str(m): name for name, m in MEASURES.items()}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), qrels, run):
        table[names[str(metric.measure)]][metric.query_id] = metric.value
    return {name: np.array([row[q] for q in queries]) for name, row in table.items()}


def interval(difference: Any, rng: np.random.Generator) -> dict[str, float]:
    """Mean difference with a 95% percentile bootstrap interval over queries."""
    draws = rng.integers(0, difference.size, (2000, difference.size))
    low, high = np.quantile(difference[draws].mean(1), [0.025, 0.975])
    return {
        "mean": round(float(difference.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def markdown(result: Mapping[str, Any]) -> str:
    """Tables for people."""
    lines = [
        "# First stage and reranking, train and dev splits",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, seed "
        f"{result['seed']}, {result['hardware']}.",
        "",
        "Each cell: nDCG@10 / recall@5 / recall@50. The last columns are differences of nDCG@10 "
        "with 95% bootstrap intervals over queries.",
        "",
        "| corpus, split | n | " + " | ".join(ARMS) + " | skipped | policy - tuned | "
        "policy - always |",
        "|---|---|" + "---|" * (len(ARMS) + 3),
    ]
    for name, found in result["corpora"].items():
        cells = [" / ".join(f"{found['arms'][arm][m]:.3f}" for m in MEASURES) for arm in ARMS]
        spans = [
            "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**found["ndcg@10_difference"][key])
            for key in ("policy-tuned", "policy-reranked")
        ]
        lines.append(
            f"| {name} | {found['n']} | "
            + " | ".join([*cells, f"{found['skip_rate']:.0%}", *spans])
            + " |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/corpora"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpora", nargs="*", default=CORPORA)
    parser.add_argument("--limit", type=int, default=450, help="queries a split; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result: dict[str, Any] = {
        "command": f"python benchmarks/first_stage.py --limit {args.limit} --seed {args.seed}",
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "seed": args.seed,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, CPU only",
        "corpora": {},
    }
    for name in args.corpora:
        data = Dataset.load(args.data / name)
        for split in ("train", "dev"):
            if split not in data.splits:
                continue
            begun = time.perf_counter()
            result["corpora"][f"{name} {split}"] = measure(
                data, split, args.limit, args.cache, args.seed
            )
            print(f"{name} {split}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
            args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
            args.out.with_suffix(".md").write_text(markdown(result), "utf-8")


if __name__ == "__main__":
    main()
