"""What the bundled query encoder adds to the untrained one, on dev.

    python benchmarks/query_encoder.py --out eval/results/query_encoder

Both read the same candidates with the same window; for both an order is fitted with dense and
BM25 features, on other documents of dev: five folds, and for corpora that nothing was learned
from the order of the others. Never reads a test split. Writes FILE.json and FILE.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
from corpus_index import CorpusIndex
from domains import CORPORA, LEARNED
from left_out import difference, drawn, passages_of, retrieved

from rankgate.encoders import TokenEncoder, TokenHead
from rankgate.scorers import LateInteractionScorer
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.train.looks import JudgedList, fit_order, ndcg_at_10
from rankgate_eval.verdict.provenance import git_state, hardware

FOLDS = 5
Raw = list[npt.NDArray[np.float32]]


def cross_fitted(
    judged: Sequence[JudgedList], raw: Raw, fold: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """nDCG@10 of each question, by an order that was fitted without its document."""
    values = np.zeros(len(judged))
    learned = np.array([one.corpus in LEARNED for one in judged])
    for k in range(FOLDS):
        fit = np.flatnonzero(learned & (fold != k))
        order = fit_order([judged[i] for i in fit], [raw[i] for i in fit])
        for i in np.flatnonzero(fold == k):
            values[i] = ndcg_at_10(order.logits(judged[i], raw[i]), judged[i])
    return values


def folds(judged: Sequence[JudgedList], seed: int) -> npt.NDArray[np.int64]:
    """Documents, shuffled and dealt out."""
    groups = sorted({(one.corpus, one.group) for one in judged})
    dealt = np.random.default_rng(seed).permutation(len(groups)) % FOLDS
    of = dict(zip(groups, dealt.tolist(), strict=True))
    return np.array([of[one.corpus, one.group] for one in judged])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/corpora"))
    parser.add_argument("--limit", type=int, default=300, help="questions of a corpus, at most")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    encoder = TokenEncoder.load()
    head = TokenHead(encoder=encoder.sha256)
    scorers = {
        "untrained": LateInteractionScorer(encoder, head=head),
        "bundled": LateInteractionScorer.load(),
    }
    judged: list[JudgedList] = []
    raw: dict[str, Raw] = {name: [] for name in scorers}
    for name in CORPORA:
        index = CorpusIndex(Dataset.load(args.data / name), args.cache, encoder)
        rows = retrieved(index, drawn(index.data.judged("dev"), args.limit, args.seed))
        judged += [one for one, _ in rows]
        for label, scorer in scorers.items():
            asked = scorer.read_queries([one.query for one, _ in rows])
            raw[label] += [
                scorer.compare(question, passages_of(index, found))
                for question, (_, found) in zip(asked, rows, strict=True)
            ]
        print(f"{name}: {len(rows)}", file=sys.stderr)
    fold = folds(judged, args.seed)
    values = {label: cross_fitted(judged, found, fold) for label, found in raw.items()}
    corpora = np.array([one.corpus for one in judged])
    groups = [f"{one.corpus}:{one.group}" for one in judged]
    table: dict[str, Any] = {}
    parts = {name: corpora == name for name in CORPORA}
    parts["learned from, together"] = np.isin(corpora, LEARNED)
    parts["not learned from, together"] = ~np.isin(corpora, LEARNED)
    for name, chosen in parts.items():
        before, after = (values[label][chosen] for label in ("untrained", "bundled"))
        table[name] = {
            "n": int(chosen.sum()),
            "untrained": round(float(before.mean()), 4),
            "bundled": round(float(after.mean()), 4),
            "difference": difference(
                before, after, [groups[i] for i in np.flatnonzero(chosen)], args.seed
            ),
        }
    commit, changed = git_state()
    result = {
        "command": f"python benchmarks/query_encoder.py --limit {args.limit} --seed {args.seed} "
        f"--out {args.out.name}",
        "commit": f"{commit}{' (with changes)' if changed else ''}",
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "seed": args.seed,
        "scorer": scorers["bundled"].info.id,
        "corpora": table,
    }
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    args.out.with_suffix(".md").write_text(markdown(result), "utf-8")


def markdown(result: dict[str, Any]) -> str:
    """A table for people, in points of nDCG@10."""
    lines = [
        "# The bundled query encoder against the untrained one, dev",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, seed "
        f"{result['seed']}, {result['hardware']}. Scorer `{result['scorer']}`.",
        "",
        "nDCG@10 in points, order cross-fitted by document; 95% cluster bootstrap intervals. Dev "
        "was looked at while choices were made.",
        "",
        "| corpus | n | untrained | bundled | difference |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["corpora"].items():
        span = "{:+.1f} [{:+.1f}, {:+.1f}]".format(
            *(100 * row["difference"][k] for k in ("mean", "low", "high"))
        )
        lines.append(
            f"| {name} | {row['n']} | {100 * row['untrained']:.1f} | {100 * row['bundled']:.1f} | "
            f"{span} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
