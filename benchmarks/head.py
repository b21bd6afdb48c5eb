"""Heads over late interaction, left out of the domain that they are measured on.

    python benchmarks/head.py --data ../shared/data --cache .cache/corpora --out FILE

For each variant of the score (windows, salience, a matrix) the relevance model is fitted
list-wise on train questions of other domains, as a policy's would be, and nDCG@10 of its order is
measured on dev (and, with --on train, on train questions of the domain that is left out: what a
variant is chosen by). Plain MaxSim with the same treatment is what all are compared with. Never
reads a test split; nothing is fitted on cranfield or mtrag. Writes FILE.json and FILE.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from corpus_index import CorpusIndex

from rankgate.encoders import TokenEncoder, TokenHead, TokenVectors
from rankgate.retrieve import Fusion
from rankgate_eval.data.dataset import Dataset
from rankgate_eval.stats.significance import compare
from rankgate_eval.train.engine.refit import JudgedList, fit_order, ndcg_at_10
from rankgate_eval.verdict.provenance import git_state, hardware

DOMAINS = {
    "encyclopedia": ("xquad-en", "nq-oracle"),
    "biomedicine": ("covid-qa", "pubmedqa", "medquad"),
    "": ("cranfield", "mtrag"),  # nothing is fitted on them
}
FITTED = (*DOMAINS["encyclopedia"], *DOMAINS["biomedicine"])
CORPORA = (*FITTED, *DOMAINS[""])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A question with the token vectors of its candidates."""

    judged: JudgedList
    query: TokenVectors
    passages: tuple[TokenVectors, ...]


def rows_of(index: CorpusIndex, split: str, limit: int, seed: int) -> list[Row]:
    """At most `limit` questions of a split, retrieved; their group is the document's."""
    data = index.data
    if split not in data.splits:
        return []
    ids = data.judged(split)
    if len(ids) > limit:
        chosen = np.random.default_rng(seed).choice(len(ids), limit, replace=False)
        ids = [ids[int(i)] for i in sorted(chosen)]
    rows = []
    for q, vectors in zip(ids, index.encoder.encode([data.queries[q] for q in ids]), strict=True):
        found = index.retrieve(q, data.queries[q], vectors, fusion=Fusion(), k=50)
        gold = set(data.relevant(q))
        judged = JudgedList(
            corpus=data.name,
            query_id=q,
            group=data.group_of(q),
            query=data.queries[q],
            candidates=found.candidates,
            signals=found.signals,
            relevant=np.array([c.id in gold for c in found.candidates], dtype=np.bool_),
            gold=len(gold),
        )
        passages = tuple(index.vectors[index.position[c.id]] for c in found.candidates)
        rows.append(Row(judged=judged, query=vectors, passages=passages))
    return rows


def raw_of(head: TokenHead, rows: Sequence[Row]) -> list[np.ndarray]:
    """(n,) scores of each row's candidates."""
    return [head.scores(r.query.tokens.astype(np.float32), r.passages) for r in rows]


def parted(rows: Sequence[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Three quarters of the document groups to learn from, the rest for the relevance model."""
    useful = [r for r in rows if r.judged.relevant.any()]
    groups = sorted({r.judged.group for r in useful})
    kept = np.random.default_rng(seed + 1).permutation(len(groups))[: len(groups) // 4]
    back = {groups[int(i)] for i in kept}
    learned = [r for r in useful if r.judged.group not in back]
    return learned, [r for r in useful if r.judged.group in back]


def likely_relevant(row: Row) -> np.ndarray:
    """The margin rule of mining: unlabelled, and both rankers at 95% of the best positive."""
    j = row.judged
    result = ~j.relevant
    for scores in ([c.dense or 0.0 for c in j.candidates], [c.bm25 or 0.0 for c in j.candidates]):
        values = np.array(scores)
        result &= values >= 0.95 * values[j.relevant].max()
    return result


def trained(parts: Sequence[str], rows: Sequence[Row], args: argparse.Namespace) -> TokenHead:
    """A head that was learned list-wise over all candidates of these rows."""
    from rankgate_eval.train.engine.head import HeadRanker
    from rankgate_eval.train.engine.modules import HeadModule

    torch.manual_seed(args.seed)
    reader = TokenEncoder.load()
    module = HeadModule(reader.dimension, parts)
    ranker = HeadRanker(module, reader, window=args.window)
    rates = [{"params": [p], "lr": args.lr} for n, p in module.named_parameters() if n != "scale"]
    optimizer = torch.optim.AdamW([*rates, {"params": [module.scale], "lr": 0.3}], weight_decay=0.0)
    first = [group["lr"] for group in optimizer.param_groups]
    steps = args.epochs * (len(rows) // 8)
    done = 0
    for epoch in range(args.epochs):
        order = np.random.default_rng([args.seed, epoch]).permutation(len(rows))
        total = 0.0
        for at in range(0, len(order) - 7, 8):
            for group, rate in zip(optimizer.param_groups, first, strict=True):
                group["lr"] = rate * (1.0 - done / steps)
            optimizer.zero_grad()
            for i in order[at : at + 8]:
                row = rows[int(i)]
                scores = ranker.scores_of(row.query, row.passages)
                scores = scores.masked_fill(torch.from_numpy(likely_relevant(row)), -1e4)
                target = torch.from_numpy(row.judged.relevant / row.judged.relevant.sum())
                loss = -(target.float() * torch.log_softmax(scores, 0)).sum() / 8.0
                loss.backward()
                total += float(loss.detach()) * 8.0
            optimizer.step()
            done += 1
        print(f"  {'+'.join(parts)} epoch {epoch}: loss {total / len(order):.4f}", file=sys.stderr)
    return ranker.head()


def measure(
    make: Any, table: dict[tuple[str, str], list[Row]], on: str, seed: int
) -> dict[str, np.ndarray]:
    """nDCG@10 of each question, by models that have not seen its corpus's domain."""
    found: dict[str, np.ndarray] = {}
    for domain, names in DOMAINS.items():
        others = [n for n in FITTED if n not in DOMAINS.get(domain, ()) or not domain]
        pairs = [parted(table[n, "train"], seed) for n in others]
        learn, fit = [r for a, _ in pairs for r in a], [r for _, b in pairs for r in b]
        head = make(learn)
        order = fit_order([r.judged for r in fit], raw_of(head, fit))
        for name in names:
            rows = table[name, on]
            values = [
                ndcg_at_10(order.logits(r.judged, raw), r.judged)
                for r, raw in zip(rows, raw_of(head, rows), strict=True)
            ]
            if values:
                found[name] = np.array(values)
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/corpora"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--on", choices=("train", "dev"), default="dev")
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--train-limit", type=int, default=900)
    parser.add_argument("--dev-limit", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="*", help="names of them; without it all")
    parser.add_argument("--save", type=Path, help="write the matrix head, learned from all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    encoder = TokenEncoder.load()
    table: dict[tuple[str, str], list[Row]] = {}
    for name in CORPORA:
        index = CorpusIndex(Dataset.load(args.data / name), args.cache, encoder)
        table[name, "train"] = rows_of(index, "train", args.train_limit, args.seed)
        table[name, "dev"] = rows_of(index, "dev", args.dev_limit, args.seed)
        print(f"{name}: read", file=sys.stderr)

    def fixed(window: int, mix: float) -> Any:
        head = TokenHead(encoder=encoder.sha256, window=window, mix=mix)
        return lambda _: head

    variants: dict[str, Any] = {
        **{f"window {w} alone": fixed(w, 1.0) for w in (16, 24, 32, 48, 64)},
        **{f"window {w}, half": fixed(w, 0.5) for w in (24, 32, 48)},
        "salience": lambda rows: trained(("salience",), rows, args),
        "matrix": lambda rows: trained(("matrix",), rows, args),
    }
    if args.variants:
        variants = {name: variants[name] for name in args.variants}
    base = measure(fixed(2, 0.0), table, args.on, args.seed)
    commit, changed = git_state()
    result: dict[str, Any] = {
        "command": f"python benchmarks/head.py --on {args.on} --seed {args.seed} "
        f"--train-limit {args.train_limit} --dev-limit {args.dev_limit} --window {args.window} "
        f"--epochs {args.epochs} --lr {args.lr}",
        "commit": f"{commit}{' (with changes)' if changed else ''}",
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "seed": args.seed,
        "n": {name: int(values.size) for name, values in base.items()},
        "maxsim": {name: round(float(values.mean()), 4) for name, values in base.items()},
        "variants": {},
    }
    for label, make in variants.items():
        values = measure(make, table, args.on, args.seed)
        cells = {}
        for name, after in values.items():
            groups = [r.judged.group for r in table[name, args.on]]
            d = compare(base[name], after, groups, permutations=99, seed=args.seed)
            cells[name] = {k: round(getattr(d, k), 4) for k in ("mean", "low", "high")}
        mean = float(np.mean([c["mean"] for c in cells.values()]))
        result["variants"][label] = {"mean": round(mean, 4), "corpora": cells}
        print(f"{label}: {mean:+.4f}", file=sys.stderr)
        args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        args.out.with_suffix(".md").write_text(markdown(result), "utf-8")
    if args.save is not None:
        # What is saved is what was measured last: the head for the corpora that no domain holds.
        learned = [r for n in FITTED for r in parted(table[n, "train"], args.seed)[0]]
        head = trained(("matrix",), learned, args)
        print(f"{args.save}: sha256 {head.save(args.save)}", file=sys.stderr)


def markdown(result: dict[str, Any]) -> str:
    """A table for people, in points of nDCG@10."""
    names = list(result["maxsim"])
    lines = [
        "# Heads over late interaction, domain left out",
        "",
        f"`{result['command']}`, commit {result['commit']}, {result['date']}, seed "
        f"{result['seed']}, {result['hardware']}.",
        "",
        "First row: nDCG@10 of plain MaxSim with a refitted relevance model. Others: difference to "
        "it in points, with 95% cluster bootstrap intervals.",
        "",
        "| variant | mean | " + " | ".join(f"{n} (n={result['n'][n]})" for n in names) + " |",
        "|---|---|" + "---|" * len(names),
        "| MaxSim | | " + " | ".join(f"{100 * result['maxsim'][n]:.1f}" for n in names) + " |",
    ]
    for label, found in result["variants"].items():
        cells = [
            "{:+.1f} [{:+.1f}, {:+.1f}]".format(
                *(100 * found["corpora"][n][k] for k in ("mean", "low", "high"))
            )
            for n in names
        ]
        lines.append(f"| {label} | {100 * found['mean']:+.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
