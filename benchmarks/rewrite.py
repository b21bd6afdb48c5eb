"""What mended spelling finds: questions with real keyboard errors, and the same without any.

xquad-en's questions, typed by people with their mistakes (NoiseQA: Ravichander et al., EACL 2021,
arXiv 2102.08345); the first stage is the application's own, with the default policy's fusion.

python benchmarks/rewrite.py --data DATA --cache CACHE --split dev --out eval/results/rewrite
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from corpus_index import CorpusIndex
from question_runs import difference, first_stage, options, write_part

from rag_app.ask.first_stage import HybridFirstStage
from rag_app.ask.rewrite import Spelling, rewrite
from rag_app.ask.searched import Searched
from rankgate.encoders import TokenEncoder
from rankgate_eval.data.dataset import Dataset

FILES = {"with typos": "queries-typos.jsonl", "clean": "queries.jsonl"}
METRICS = ("recall5", "ndcg10")


def scores(found: Sequence[str], relevant: frozenset[str]) -> dict[str, float]:
    """Recall@5 and nDCG@10 of one ranking, relevance being binary."""
    gains = [1.0 / math.log2(r + 1) for r, i in enumerate(found[:10], 1) if i in relevant]
    ideal = [1.0 / math.log2(r + 1) for r in range(1, min(10, len(relevant)) + 1)]
    return {
        "recall5": len(relevant.intersection(found[:5])) / len(relevant),
        "ndcg10": math.fsum(gains) / math.fsum(ideal),
    }


def measured(
    data: Dataset, asked: Mapping[str, str], stage: HybridFirstStage, spelling: Spelling
) -> dict[str, Any]:
    """Both ways over the same questions, and what was mended."""
    rows: dict[str, list[dict[str, float]]] = {"as asked": [], "with spelling": []}
    mended, clusters = [], []
    for query, text in asked.items():
        relevant = frozenset(data.relevant(query))
        searched = rewrite(Searched.plain(text), lambda: spelling)
        plain = scores([c.id for c in stage.candidates(text, 50)], relevant)
        rows["as asked"].append(plain)
        clusters.append(data.group_of(query))
        if not searched.also:
            rows["with spelling"].append(plain)
            continue
        found = stage.candidates(searched.scored, 50, searched.also)
        rows["with spelling"].append(scores([c.id for c in found], relevant))
        right = searched.also[0].text.lower() == data.queries[query].lower()
        mended.append({"right": right, "mistaken": text != data.queries[query]})
    result: dict[str, Any] = {
        "n": len(asked),
        "mended": len(mended),
        "exactly_right": sum(m["right"] for m in mended),
        "with_a_mistake": sum(text != data.queries[q] for q, text in asked.items()),
    }
    for name, row in rows.items():
        result[name] = {m: round(float(np.mean([r[m] for r in row])), 4) for m in METRICS}
    for metric in METRICS:
        before, after = ([r[metric] for r in rows[n]] for n in rows)
        result[f"difference_{metric}"] = difference(before, after, clusters)
    return result


def markdown(result: Mapping[str, Any]) -> str:
    """The result for people."""
    lines = [
        "# Misspelt questions",
        "",
        f"Made with `{result['command']}` at {result['commit']}, seed 0, on {result['hardware']}.",
        "xquad-en, first stage of the application (dense and BM25, RRF); the mended question is",
        "searched beside the one that was asked. 95% intervals: cluster bootstrap over document",
        "groups. The clean questions have mistakes of their own (*Beriods*, *ctenphora*).",
        "",
        "| part | questions | n | mended | nDCG@10 as asked | with spelling | difference (95%) |"
        " recall@5 as asked | with spelling | difference (95%) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for split, part in result["splits"].items():
        for name, row in part.items():
            cells = [split, name, str(row["n"]), str(row["mended"])]
            for metric in ("ndcg10", "recall5"):
                d = row[f"difference_{metric}"]
                cells += [
                    f"{row['as asked'][metric]:.4f}",
                    f"{row['with spelling'][metric]:.4f}",
                    f"{d['mean']:+.4f} ({d['low']:+.4f} to {d['high']:+.4f})",
                ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure one part and write it beside what the file has of the other."""
    args = options(__doc__).parse_args()
    encoder = TokenEncoder.load()
    data = Dataset.load(args.data / "xquad-en")
    corpus = CorpusIndex(data, args.cache, encoder)
    stage = first_stage(corpus)
    spelling = Spelling.of(corpus.bm25, encoder)
    part = {}
    for name, queries in FILES.items():
        texts = Dataset.load(args.data / "xquad-en", queries=queries).queries
        asked = {q: texts[q] for q in data.judged(args.split) if q in texts}
        part[name] = measured(data, asked, stage, spelling)
    write_part(args.out, "rewrite.py", args.split, part, markdown)


if __name__ == "__main__":
    main()
