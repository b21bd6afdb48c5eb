"""Runs the robustness suites: which ranker puts the right one of two passages first.

    python benchmarks/robustness.py --out eval/results/robustness

Writes FILE.json and FILE.md. More rankers: `--scorer onnx:FOLDER`, `--scorer cross-encoder:NAME`,
repeatable.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankgate.encoders import TokenEncoder
from rankgate.scorers import LateInteractionScorer
from rankgate_eval.run.robustness import (
    PairScores,
    SuiteResult,
    bm25_pairs,
    dense_pairs,
    load_suites,
    measure_suites,
    scorer_pairs,
)
from rankgate_eval.run.scorer_choice import choose_scorer
from rankgate_eval.verdict.provenance import git_state, hardware

SUITES = Path(__file__).resolve().parents[1] / "eval" / "robustness"


def markdown(found: Mapping[str, Any], results: Sequence[SuiteResult]) -> str:
    """A table for people, with the lost pairs below it."""
    rankers = list(dict.fromkeys(r.ranker for r in results))
    by = {(r.suite, r.ranker): r for r in results}
    lines = [
        "# Robustness suites",
        "",
        f"`{found['command']}`, commit {found['commit']}, {found['date']}, {found['hardware']}. "
        "No seed: nothing is drawn.",
        "",
        "Share of pairs in which the right passage has the higher score, with exact 95% intervals; "
        "a tie is no win, and chance is one half. The pairs in `eval/robustness` were written by "
        "hand before any ranker was run on them, and none was changed or removed afterwards. They "
        "show kinds of failure; with 20 pairs a suite only large differences mean something.",
        "",
        "| suite | n | " + " | ".join(rankers) + " |",
        "|---|---|" + "---|" * len(rankers),
    ]
    for suite in dict.fromkeys(r.suite for r in results):
        cells = []
        for ranker in rankers:
            r = by[suite, ranker]
            tied = f", {r.ties} tied" if r.ties else ""
            cells.append(f"{r.share:.2f} [{r.ci[0]:.2f}, {r.ci[1]:.2f}]{tied}")
        lines.append(f"| {suite} | {by[suite, rankers[0]].n} | " + " | ".join(cells) + " |")
    lines += ["", "Pairs that were not won:", ""]
    for r in results:
        if r.suite != "all" and r.lost:
            lines.append(f"- {r.ranker}, {r.suite}: {', '.join(r.lost)}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suites", type=Path, default=SUITES)
    parser.add_argument("--scorer", action="append", default=[])
    parser.add_argument("--head", type=Path, help="a head over late interaction")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    encoder = TokenEncoder.load()
    rankers: dict[str, PairScores] = {
        "BM25": bm25_pairs,
        "dense": dense_pairs(encoder),
        "late interaction": scorer_pairs(LateInteractionScorer(encoder)),
        "bundled": scorer_pairs(LateInteractionScorer.load()),
    }
    if args.head is not None:
        rankers["late interaction, head"] = scorer_pairs(LateInteractionScorer.load(head=args.head))
    for name in args.scorer:
        rankers[name] = scorer_pairs(choose_scorer(name))
    results = measure_suites(load_suites(args.suites), rankers)
    commit, changed = git_state()
    found = {
        "command": "python benchmarks/robustness.py"
        + "".join(f" --scorer {name}" for name in args.scorer)
        + ("" if args.head is None else f" --head {args.head.name}"),
        "commit": f"{commit}{' (with changes)' if changed else ''}",
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "results": [dataclasses.asdict(r) for r in results],
    }
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    args.out.with_suffix(".json").write_text(text, "utf-8")
    args.out.with_suffix(".md").write_text(markdown(found, results), "utf-8")
    print(f"{args.out.with_suffix('.md')} written", file=sys.stderr)


if __name__ == "__main__":
    main()
