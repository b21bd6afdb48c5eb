"""Rows whose truth is known: what the scorer is worth, and where, is planted.

Each query has 20 candidates. Relevance shifts the cosine, the BM25 score and the raw score by
known amounts; everything else is noise.
"""

import numpy as np

from rankgate.decide.signals import compute_signals
from rankgate.scorers import Scores
from rankgate.types import Candidate
from rankgate_eval.calibrate.rows import row_of

DEPTH = 20
WORDS = frozenset("what is the colour of thing number and how does it work".split())


def world(
    seed,
    *,
    queries=150,
    scorer="informative",
    first_stage=1.5,
    typos=0.0,
    kind="hybrid",
    removed=True,
    depth=DEPTH,
    per_document=2,
):
    """Rows of answerable queries and, for each, the same with its passage removed.

    `scorer`: `informative`, `noise`, `constant`, `harms_typos` or `inverted`.
    `per_document`: queries that share a document group.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(queries):
        typo = rng.random() < typos
        text = "waht iz teh colr of thign" if typo else "what is the colour of thing"
        # Easy questions are easy for both stages: a clear margin means a right first stage.
        ease = rng.exponential(1.0)
        for stratum in ("answerable", "removed") if removed else ("answerable",):
            has = stratum == "answerable"
            truth = np.zeros(depth)
            truth[0] = 1.0 if has else 0.0
            dense = 0.3 + 0.1 * (rng.normal(size=depth) + first_stage * ease * truth)
            bm25 = np.maximum(0.0, 5.0 + 2.0 * (rng.normal(size=depth) + first_stage * truth))
            raw = rng.normal(size=depth)
            if scorer == "informative" or (scorer == "harms_typos" and not typo):
                raw += 4.0 * truth
            elif scorer == "inverted" or scorer == "harms_typos":
                raw -= 4.0 * truth
            elif scorer == "constant":
                raw[:] = 0.5
            keys = np.zeros(depth)
            if kind in ("hybrid", "dense"):
                keys += (dense - 0.3) / 0.1
            if kind in ("hybrid", "bm25"):
                keys += (bm25 - 5.0) / 2.0
            if kind == "order":
                keys += (dense - 0.3) / 0.1
            order = np.argsort(-keys, kind="stable")
            candidates = [
                Candidate(
                    id=f"gold{i}" if j == 0 else f"p{i}-{j}",
                    text="thing",
                    rank=rank,
                    dense=float(dense[j]) if kind in ("hybrid", "dense") else None,
                    bm25=float(bm25[j]) if kind in ("hybrid", "bm25") else None,
                )
                for rank, j in enumerate(order, start=1)
            ]
            rows.append(
                row_of(
                    candidates,
                    compute_signals(text, candidates, lexicon=WORDS),
                    Scores.full(raw[order], "planted"),
                    gold=[f"gold{i}"] if has else [],
                    query_id=f"q{i:04d}",
                    stratum=stratum,
                    group=f"d{i // per_document}",
                )
            )
    return rows
